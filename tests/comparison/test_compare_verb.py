"""`compare` on the command line."""

import shlex

import pytest

from pipeline.cli.main import main, parser
from pipeline.cli.spec_product import features_command, specs_from_options
from pipeline.comparison import measure
from pipeline.errors import SpecError


def specs(*arguments):
    line = ("compare", "photos", "--cache", "cache/c", *map(str, arguments))
    return specs_from_options(parser(line).parse_args(line))


@pytest.mark.parametrize(
    ("conv_bases", "message"),
    [("vgg16,mobilnet_v2", "did you mean mobilenet"), ("vgg16,./missing", "conv base ./missing does not exist")],
)
def test_a_conv_base_that_does_not_exist_is_refused_at_once(tmp_path, photos, capsys, conv_bases, message):
    assert main(["compare", str(photos), "--cache", str(tmp_path / "c"), "--conv-base", conv_bases]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


class TestSpecs:
    def test_each_conv_base_is_combined_with_each_size_and_precision(self):
        found = specs("--conv-base", "vgg16,resnet50", "--size", "96,128x160", "--precision", "float32,int8")
        assert [(spec.conv_base, spec.size, spec.precision) for spec in found] == [
            (name, size, precision)
            for name in ("vgg16", "resnet50")
            for size in ((96, 96), (128, 160))
            for precision in ("float32", "int8")
        ]

    def test_the_precision_is_not_auto(self, capsys):
        assert specs("--conv-base", "vgg16")[0].precision == "float32"
        with pytest.raises(SystemExit):
            specs("--conv-base", "vgg16", "--precision", "auto")
        assert "'auto' is not one of float32" in capsys.readouterr().err

    def test_a_setting_is_for_all_or_for_one(self, tmp_path):
        mine = tmp_path / "a=b" / "net.v2.keras"
        vgg, mobile, own = specs(
            *("--conv-base", f"vgg16,mobilenet_v2,{mine}", "--weights", "random", "--weights", "mobilenet_v2=w.h5"),
            *("--conv-base-arg", "mobilenet_v2.alpha=0.35", "--conv-base-arg", "vgg16.name=x"),
            *("--preprocessing", "net.v2.keras=caffe", "--resize", "antialias"),
        )
        assert (vgg.weights, mobile.weights, own.weights) == ("random", "w.h5", "imagenet")
        assert (vgg.conv_base_args, mobile.conv_base_args, own.conv_base_args) == ({"name": "x"}, {"alpha": 0.35}, {})
        assert (vgg.preprocessing, mobile.preprocessing, own.preprocessing) == ("own", "own", "caffe")
        assert {spec.resize for spec in (vgg, mobile, own)} == {"antialias"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--weights", "resnet50=w.h5"), "--weights resnet50=w.h5: 'resnet50' is none of the conv bases vgg16"),
            (("--conv-base-arg", "resnet50.alpha=1"), "'resnet50' is none of the conv bases vgg16"),
            (("--conv-base-arg", "alpha"), r"is not \[NAME.\]KEY=VALUE"),
            (("--preprocessing", "none of these"), "not one of"),
        ],
    )
    def test_what_is_for_none_is_an_error(self, arguments, message):
        with pytest.raises(SpecError, match=message):
            specs("--conv-base", "vgg16", *arguments)

    def test_a_combination_that_no_spec_can_have_is_refused_alone(self):
        found = specs("--conv-base", "vgg16,net.onnx", "--precision", "float32,int8", "--preprocessing", "net.onnx=tf")
        assert [getattr(spec, "problem", None) is None for spec in found] == [True, True, True, False]
        assert found[3].name == "net.onnx-150-int8" and "not in int8" in found[3].problem
        with pytest.raises(SpecError, match="not in int8"):
            specs("--conv-base", "net.onnx", "--precision", "int8")

    def test_the_command_to_go_on_describes_the_same_spec(self, tmp_path):
        line = ["compare", "my photos", "--cache", "c", "--conv-base", "mobilenet_v2", "--size", "96x128"]
        line += ["--precision", "int8", "--weights", "w 1.h5", "--conv-base-arg", "alpha=0.35", "--test", "0.1"]
        options = parser(line).parse_args(line)
        (spec,) = specs_from_options(options)
        words = shlex.split(features_command(options, spec, tmp_path / "store"))
        options = parser(words).parse_args(words[words.index("features") :])
        from pipeline.cli.shared_options import spec_from_options

        assert spec_from_options(options) == spec
        assert (options.images, options.cache, options.test) == ("my photos", str(tmp_path / "store"), 0.1)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_a_budget_is_a_time(text, seconds):
    line = ("compare", "photos", "--cache", "c", "--conv-base", "vgg16", "--budget", text)
    assert parser(line).parse_args(line).budget == seconds


@pytest.mark.parametrize("text", ["m", "-3m", "0", "inf", "nan", "3d"])
def test_what_is_no_time_is_refused(text, capsys):
    line = ("compare", "photos", "--cache", "c", "--conv-base", "vgg16", f"--budget={text}")
    with pytest.raises(SystemExit):
        main(line)
    assert "is not a time" in capsys.readouterr().err


def test_the_command_prints_plan_table_advice_and_how_to_go_on(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_exported_bytes", lambda *arguments: 1_500_000)
    monkeypatch.setattr("pipeline.comparison.stage_timer.import_keras", lambda: None)
    line = ["compare", photos, "--cache", tmp_path / "c", "--conv-base", "vgg16", "--per-class", 4]
    status, out, _ = run(*line, "--size", "4,8")
    assert status == 0
    for words in ("2 specs on", "vgg16-4-float32", "vgg16-8-float32", "all images", "features", "heads"):
        assert words in out
    assert (tmp_path / "c/comparison.html").is_file() and (tmp_path / "c/comparison.png").is_file()
    status, out, err = run(*line, "--size", "8", "--cut", "nowhere")
    assert status == 1 and "no layer 'nowhere'" in out and "1 spec could not be compared" in err
