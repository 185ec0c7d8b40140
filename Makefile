# Every target creates .venv and installs what is missing; `make help` lists the targets.

DATA ?=
CONV_BASE ?= vgg16
CONV_BASE_ARGS ?=
WEIGHTS ?=
SIZE ?= 150
CUT ?=
PRECISION ?=
VIEWS ?=
HEADS ?=

# Without DATA: scikit-learn's handwritten digits, the only data for which random weights are allowed.
IMAGES := $(if $(DATA),$(DATA),cache/digits)
SAMPLE := $(if $(DATA),,sample)
# The whole path of DATA with + for /: two data sets must not share a store, as one would replace the other.
# A store of these images under the name that version 0.1.0 gave it, the last part of the path, is used further.
OF_BASE := -$(basename $(notdir $(patsubst %/,%,$(CONV_BASE))))-$(SIZE)$(if $(CUT),-$(CUT))$(if $(PRECISION),-$(PRECISION))
NAME := $(if $(DATA),$(subst /,+,$(patsubst %/,%,$(DATA))),digits)
OLD_CACHE := cache/$(basename $(notdir $(patsubst %/,%,$(IMAGES))))$(OF_BASE)
CACHE ?= $(if $(shell grep -sF '"root": "$(abspath $(IMAGES))"' "$(OLD_CACHE)/manifest.json"),$(OLD_CACHE),cache/$(NAME)$(OF_BASE))

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
RUN := .venv/bin/python -m pipeline

.DEFAULT_GOAL := help
.PHONY: help features heads compare finetune train-base lenet5 predict export report info verify duplicates pack sample test torture torture-cluster bench bench-cluster three-ways augmentation compare-joined train-images compare-precisions finetune-speed lint clean conv-bases

help: ## list the targets and variables
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' Makefile | expand -t 16
	@echo
	@echo 'variables: DATA=folder CONV_BASE=name CONV_BASE_ARGS="alpha=0.35" WEIGHTS={imagenet,random,file}'
	@echo '           SIZE=150 CUT=top1 PRECISION=int8 VIEWS=8 HEADS=dense,logistic; NEW=folder OUT=labels.csv HEAD=name FILE=model.keras'
	@echo '           CACHE=dir is the store (default: cache/DATA-CONV_BASE-SIZE[-CUT], with + for each / in DATA)'
	@echo '           any other option: FEATURES_ARGS HEADS_ARGS COMPARE_ARGS FINETUNE_ARGS TRAIN_BASE_ARGS PREDICT_ARGS EXPORT_ARGS'
	@echo '           REPORT_ARGS VERIFY_ARGS DUPLICATES_ARGS TORTURE_ARGS BENCH_ARGS WAYS_ARGS JOINED_ARGS IMAGES_ARGS PRECISIONS_ARGS'

features: .venv/installed $(SAMPLE) ## stage one: compute and store the features of DATA (default: handwritten digits)
	@$(RUN) features "$(IMAGES)" --cache "$(CACHE)" --conv-base "$(CONV_BASE)" --size $(SIZE) $(if $(CUT),--cut "$(CUT)") $(if $(PRECISION),--precision $(PRECISION)) $(if $(VIEWS),--views $(VIEWS)) \
		$(foreach arg,$(CONV_BASE_ARGS),--conv-base-arg $(arg)) \
		$(if $(WEIGHTS),--weights "$(WEIGHTS)",$(if $(DATA),,--allow-random-weights)) $(FEATURES_ARGS)

# CACHE="cache/a+cache/b" joins stores that exist, and CACHE=cache/a+b may be one that is joined: neither takes images.
JOINED := $(if $(findstring +,$(CACHE)),$(shell cache='$(CACHE)'; \
	if [ -e "$$cache/manifest.json" ]; then grep -sm1 '"joined":' "$$cache/manifest.json"; else \
	while case $$cache in (*+*) ;; (*) false;; esac; do cache="$${cache%+*}"; [ -e "$$cache/manifest.json" ] && echo joined; done; fi))

heads: $(if $(JOINED),.venv/installed,features) ## stage two: train heads on the stored features and print a leaderboard (CACHE="cache/a+cache/b" joins stores)
	@$(RUN) heads "$(CACHE)" $(if $(HEADS),--heads "$(HEADS)") $(HEADS_ARGS)

compare: .venv/installed ## compare conv bases on DATA (CONV_BASE=vgg16,mobilenet_v2 SIZE=96,224 COMPARE_ARGS="--full --max-ms 20")
	@test -n "$(DATA)" || { echo 'which photos? make compare DATA=folder CONV_BASE=vgg16,mobilenet_v2' >&2; exit 2; }
	@$(RUN) compare "$(DATA)" --cache "$(CACHE)" --conv-base "$(CONV_BASE)" --size $(SIZE) $(if $(PRECISION),--precision $(PRECISION)) \
		$(foreach arg,$(CONV_BASE_ARGS),--conv-base-arg $(arg)) $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(HEADS),--heads "$(HEADS)") $(COMPARE_ARGS)

compare: CACHE = cache/$(NAME)-comparison
predict: .venv/installed ## label new images with a head of CACHE (NEW=folder OUT=labels.csv HEAD=name, the best by default)
	@test -n "$(NEW)" || { echo 'which images? make predict CACHE=$(CACHE) NEW=folder' >&2; exit 2; }
	@$(RUN) predict "$(CACHE)" "$(NEW)" $(if $(HEAD),--head "$(HEAD)") --out "$(or $(OUT),labels.csv)" $(PREDICT_ARGS)

export: .venv/installed ## write conv base and head of CACHE as one model (FILE=model.keras HEAD=name, the best by default)
	@$(RUN) export "$(CACHE)" "$(or $(FILE),$(CACHE).keras)" $(if $(HEAD),--head "$(HEAD)") $(EXPORT_ARGS)

report: .venv/installed ## write one HTML page about the store and its heads into the store (HEAD=name)
	@$(RUN) report "$(CACHE)" $(if $(HEAD),--head "$(HEAD)") $(REPORT_ARGS)

finetune: CUT = top1
finetune: features ## store the features below the top block (CUT=top2, CUT=layer), train the layers above with a head
	@$(RUN) finetune "$(CACHE)" $(FINETUNE_ARGS)

train-base: .venv/installed $(SAMPLE) ## train CONV_BASE end to end on DATA, from random weights or WEIGHTS (CONV_BASE=lenet5 SIZE=32 OUT=file.keras)
	@$(RUN) train-base "$(IMAGES)" --conv-base "$(CONV_BASE)" --size $(SIZE) --out "$(or $(OUT),cache/$(basename $(notdir $(CONV_BASE)))-$(NAME).keras)" \
		$(foreach arg,$(CONV_BASE_ARGS),--conv-base-arg $(arg)) $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(TRAIN_BASE_ARGS)

lenet5: .venv/installed sample ## train LeNet-5 on the digits, store its features, train heads on them
	@test -f cache/lenet5-digits.keras || $(RUN) train-base cache/digits --conv-base lenet5 --conv-base-arg modern=true --size 32 --out cache/lenet5-digits.keras
	@$(MAKE) --no-print-directory heads DATA= CONV_BASE=cache/lenet5-digits.keras SIZE=32

info: .venv/installed ## show what the store contains
	@$(RUN) info "$(CACHE)"

verify: .venv/installed ## check the store (VERIFY_ARGS="--full --sources")
	@$(RUN) verify "$(CACHE)" $(VERIFY_ARGS)

duplicates: .venv/installed ## find images of the same picture, across splits or under two labels (DUPLICATES_ARGS="--groups groups.csv")
	@$(RUN) duplicates "$(CACHE)" $(DUPLICATES_ARGS)

pack: .venv/installed ## write the features of the store into one HDF5 file beside it
	@$(RUN) pack "$(CACHE)" "$(CACHE).h5"

conv-bases: .venv/installed ## print a table of all conv bases
	@.venv/bin/python scripts/list_conv_bases.py

sample: .venv/installed
	@.venv/bin/python -c 'from pipeline.images.sample import write_sample; write_sample("cache/digits")'

test: .venv/installed-dev lint ## run lint, then all tests
	@.venv/bin/python -m pytest -n auto

torture: .venv/installed-dev ## try to damage stores: kills, power cuts, failing disks, flipped bits, bad images (DATA=folder N=1000)
	@.venv/bin/python -m scripts.torture $(if $(DATA),--images "$(DATA)") $(if $(N),--n $(N)) $(TORTURE_ARGS)

torture-cluster: .venv/installed-dev ## kill and damage machines that fill a store together (DATA=folder N=1000)
	@.venv/bin/python -m scripts.torture.cluster --rows-per-shard 16 $(if $(DATA),--images "$(DATA)") $(if $(N),--n $(N)) $(TORTURE_ARGS)

bench: .venv/installed ## measure speed and memory in about ten minutes (SCALE=4 DATA=folder)
	@.venv/bin/python -m scripts.bench --plot docs/bench.png $(if $(DATA),--data "$(DATA)") $(if $(SCALE),--scale $(SCALE)) $(BENCH_ARGS)

bench-cluster: .venv/installed-dev ## measure the coordination of up to 100 workers, and two processes on DATA, in 10 to 15 minutes
	@.venv/bin/python -m scripts.bench --parts coordination,two_processes --json cache/bench-cluster.json \
		$(if $(DATA),--data "$(DATA)") $(BENCH_ARGS)

three-ways: .venv/installed ## compare the slides' three ways on DATA: accuracy, seconds, end to end (WAYS_ARGS="--train 1000")
	@test -n "$(DATA)" || { echo 'which photos? make three-ways DATA=folder WEIGHTS=file' >&2; exit 2; }
	@.venv/bin/python -m scripts.three_ways "$(DATA)" --conv-base "$(CONV_BASE)" --size $(SIZE) \
		$(foreach arg,$(CONV_BASE_ARGS),--conv-base-arg $(arg)) $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(WAYS_ARGS)

augmentation: .venv/installed ## measure the gain from augmentation on few images of DATA (WAYS_ARGS="--train 200 --seeds 8")
	@test -n "$(DATA)" || { echo 'which photos? make augmentation DATA=folder WEIGHTS=file' >&2; exit 2; }
	@.venv/bin/python scripts/augmentation.py "$(DATA)" --conv-base "$(CONV_BASE)" --size $(SIZE) \
		$(foreach arg,$(CONV_BASE_ARGS),--conv-base-arg $(arg)) $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(WAYS_ARGS)

compare-joined: .venv/installed ## compare the joined features of CACHE="cache/a cache/b" with those of each store (JOINED_ARGS="--heads svm")
	@.venv/bin/python scripts/compare_joined.py $(CACHE) $(JOINED_ARGS)

train-images: .venv/installed ## score the stores of CACHE="cache/a cache/b" by the number of train images (IMAGES_ARGS="--head svm")
	@.venv/bin/python scripts/train_images.py $(CACHE) $(IMAGES_ARGS)

compare-precisions: .venv/installed ## train the same heads on features in float32, bfloat16 and int8 of DATA (PRECISIONS_ARGS="--heads dense,svm")
	@test -n "$(DATA)" || { echo 'which photos? make compare-precisions DATA=folder' >&2; exit 2; }
	@.venv/bin/python scripts/compare_precisions.py "$(DATA)" --conv-base "$(CONV_BASE)" --size $(SIZE) \
		$(foreach arg,$(CONV_BASE_ARGS),--conv-base-arg $(arg)) $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(PRECISIONS_ARGS)

finetune-speed: .venv/installed ## measure an epoch of fine-tuning, from the cache and end to end (CONV_BASE=name)
	@.venv/bin/python scripts/finetune_speed.py --conv-base "$(CONV_BASE)" --size $(SIZE) $(WAYS_ARGS)

lint: .venv/installed-dev ## run ruff and mypy
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

clean: ## remove .venv and files of tools; stores below cache/ stay
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed and was not found; install it, or give PYTHON=/path/to/python' >&2; exit 2; }
	@echo 'creating .venv with $(PYTHON) ...'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo '$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv' >&2; exit 2; }

.venv/installed: .venv/bin/python setup.cfg pyproject.toml
	@echo 'installing packages into .venv, once (TensorFlow is large) ...'
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/installed-dev: .venv/installed
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
