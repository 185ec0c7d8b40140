# Every target makes .venv and installs what is missing first; `make help` lists them.

DATA ?=
CONV_BASE ?= vgg16
CONV_BASE_ARGS ?=
WEIGHTS ?=
SIZE ?= 150
HEADS ?=

# Without DATA: scikit-learn's handwritten digits, the only data for which random weights may stand in.
IMAGES := $(if $(DATA),$(DATA),cache/digits)
SAMPLE := $(if $(DATA),,sample)
CACHE ?= cache/$(basename $(notdir $(patsubst %/,%,$(IMAGES))))-$(basename $(notdir $(CONV_BASE)))-$(SIZE)

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
RUN := .venv/bin/python -m pipeline

.DEFAULT_GOAL := help
.PHONY: help features heads info verify pack sample test torture bench lint clean conv-bases

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 12
	@echo
	@echo 'variables: DATA=folder CACHE=dir CONV_BASE=name CONV_BASE_ARGS="alpha=0.35" WEIGHTS={imagenet,random,file}'
	@echo '           SIZE=150 HEADS=dense,logistic FEATURES_ARGS=, HEADS_ARGS=, VERIFY_ARGS=, TORTURE_ARGS="any other option"'

features: .venv/installed $(SAMPLE) ## stage one: compute and keep the features of DATA (default: handwritten digits)
	@$(RUN) features "$(IMAGES)" --cache "$(CACHE)" --conv-base "$(CONV_BASE)" --size $(SIZE) \
		$(foreach arg,$(CONV_BASE_ARGS),--conv-base-arg $(arg)) \
		$(if $(WEIGHTS),--weights "$(WEIGHTS)",$(if $(DATA),,--allow-random-weights)) $(FEATURES_ARGS)

heads: features ## stage two: train heads on the kept features and print a leaderboard
	@$(RUN) heads "$(CACHE)" $(if $(HEADS),--heads "$(HEADS)") $(HEADS_ARGS)

info: .venv/installed ## what the store holds
	@$(RUN) info "$(CACHE)"

verify: .venv/installed ## is every row what it claims to be? (VERIFY_ARGS="--full --sources")
	@$(RUN) verify "$(CACHE)" $(VERIFY_ARGS)

pack: .venv/installed ## the store as one HDF5 file, beside it
	@$(RUN) pack "$(CACHE)" "$(CACHE).h5"

conv-bases: .venv/installed ## a table of all conv bases
	@.venv/bin/python scripts/list_conv_bases.py

sample: .venv/installed
	@.venv/bin/python -c 'from pipeline.sample import write_sample; write_sample("cache/digits")'

test: .venv/installed-dev lint ## lint, then all tests
	@.venv/bin/python -m pytest -n auto

torture: .venv/installed-dev ## try to break it: kills, failing disks, flipped bits, bad images (DATA=folder N=1000)
	@.venv/bin/python -m scripts.torture $(if $(DATA),--images "$(DATA)") $(if $(N),--n $(N)) $(TORTURE_ARGS)

bench: .venv/installed ## measure everything side by side, in ten minutes or so (SCALE=4 DATA=folder)
	@.venv/bin/python -m scripts.bench --plot docs/bench.png $(if $(DATA),--data "$(DATA)") $(if $(SCALE),--scale $(SCALE)) $(BENCH_ARGS)

lint: .venv/installed-dev ## ruff and mypy
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

clean: ## remove .venv and what tools left; stores under cache/ stay
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed and was not found; install it, or give PYTHON=/path/to/python' >&2; exit 2; }
	@echo 'making .venv with $(PYTHON) ...'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo '$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv' >&2; exit 2; }

.venv/installed: .venv/bin/python setup.cfg pyproject.toml
	@echo 'installing into .venv (TensorFlow is large; once only) ...'
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/installed-dev: .venv/installed
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
