"""A run folder knows whether it is whole: stages resume, damage is named, one process at a time."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nearsight.storage import CorruptFileError, LockedError, lock, read_yaml, write_json, write_yaml
from nearsight.studies import Run, Section, Stage, Study, get
from nearsight.studies.checks import Above, Check
from nearsight.studies.settings import configure, difference


class Walk(Section):
    steps: int = 5
    width: float = 1.0


class Config(Section):
    walk: Walk = Walk()
    seed: int = 3


def draw(run: Run, config: Config) -> None:
    numbers = config.walk.width * np.random.default_rng(run.seed("draw")).normal(size=config.walk.steps)
    write_json(run.path / "numbers.json", numbers.tolist())


def add(run: Run, config: Config) -> None:
    numbers = json.loads((run.path / "numbers.json").read_text())
    run.record("walk", xr.Dataset({"x": ("time", np.cumsum(numbers), {"units": "a"})}))
    run.record_checks("add", [Check("steps", len(numbers), criterion=Above(1.5))])


STUDY = Study(
    name="walk",
    question="How far does a drunkard get?",
    presets={"short": Config(), "long": Config(walk=Walk(steps=50))},
    stages=(
        Stage("draw", draw, outputs=("numbers.json",)),
        Stage(
            "add",
            add,
            outputs=("observables.nc:walk", "checks.json:add"),
            inputs=("numbers.json",),
        ),
    ),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return STUDY.run(tmp_path / "a", Config())


def events(run: Run) -> list[str]:
    return [json.loads(line)["event"] for line in (run.path / "log.jsonl").read_text().splitlines()]


def test_a_run_records_what_it_was_made_of(run):
    manifest = run.manifest
    assert manifest["seed"] == 3 and manifest["study"] == "walk"
    assert {"nearsight", "commit", "libraries", "machine"} <= manifest.keys()
    assert manifest["stages"]["add"]["inputs"] == manifest["stages"]["draw"]["outputs"]
    assert run.config == {"walk": {"steps": 5, "width": 1.0}, "seed": 3}
    assert run.checks == [Check("steps", 5, criterion=Above(1.5))]


def test_results_are_not_touched_without_resume(run):
    with pytest.raises(FileExistsError, match=r"draw, add.*--resume"):
        STUDY.run(run.path, Config())


def test_finished_stages_are_verified_and_skipped(run):
    before = run.manifest["stages"]
    STUDY.run(run.path, Config(), resume=True)
    assert run.manifest["stages"] == before
    assert events(run)[-2:] == ["skip", "skip"]


def test_another_configuration_is_refused_by_the_keys_that_differ(run):
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"walk\.steps: 5 there, 6 here"):
            STUDY.run(run.path, configure(Config(), ["walk.steps=6"]), resume=resume)


@pytest.mark.parametrize("file", ["numbers.json", "observables.nc", "checks.json"])
def test_a_changed_output_is_named_with_the_cure(run, file):
    path = run.path / file
    if file == "observables.nc":
        run.record("walk", run.observable("walk") + 1e-9)
    else:
        path.write_bytes(path.read_bytes().replace(b"1", b"2").replace(b"true", b"false"))
    with pytest.raises(CorruptFileError, match=rf"{file}.*SHA-256.*[Rr]estore a copy, or delete"):
        STUDY.run(run.path, Config(), resume=True)


@pytest.mark.parametrize("file", ["numbers.json", "observables.nc", "checks.json", "manifest.json", "config.yaml"])
def test_a_truncated_file_is_named_and_deleting_it_is_a_cure(run, file):
    hashes = {name: entry["outputs"] for name, entry in run.stages.items()}
    path = run.path / file
    path.write_bytes(path.read_bytes()[:-8] if file != "config.yaml" else b"walk: {")
    with pytest.raises(CorruptFileError, match=rf"(?s){file}.*elete"):
        STUDY.run(run.path, Config(), resume=True)
    path.unlink()
    STUDY.run(run.path, Config(), resume=True)
    assert {name: entry["outputs"] for name, entry in run.stages.items()} == hashes


def test_a_deleted_output_is_named_and_made_again(run):
    recorded = run.manifest["stages"]["draw"]["outputs"]
    (run.path / "numbers.json").unlink()
    STUDY.run(run.path, Config(), resume=True)
    assert "missing" in events(run)
    assert run.manifest["stages"]["draw"]["outputs"] == recorded


def test_a_stage_is_repeated_when_its_inputs_have_changed(run):
    (run.path / "numbers.json").unlink()
    wider = Stage("draw", lambda r, c: draw(r, Config(walk=Walk(width=2.0))), ("numbers.json",))
    other = replace(STUDY, stages=(wider, STUDY.stages[1]))
    old = run.observable("walk").x.values
    other.run(run.path, Config(), resume=True)
    np.testing.assert_allclose(run.observable("walk").x.values, 2 * old)


def test_a_stage_alone_needs_its_predecessors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"numbers\.json.*'draw' first"):
        STUDY.run(tmp_path / "b", Config(), only="add")
    STUDY.run(tmp_path / "b", Config(), only="draw")
    run = STUDY.run(tmp_path / "b", Config(), only="add")
    assert run.complete("add")


def test_data_sets_share_one_file_and_leave_each_other_alone(run):
    before = run.hash("observables.nc:walk")
    run.record("other", xr.Dataset({"y": 1.0}))
    assert run.hash("observables.nc:walk") == before
    assert float(run.observable("other").y) == 1.0


def test_random_numbers_depend_on_seed_and_purpose_alone(run):
    assert run.seed("quench", 3) == run.seed("quench", 3)
    assert len({run.seed("quench", 3), run.seed("quench", 4), run.seed("train", 3)}) == 3


def test_a_failed_stage_is_logged_and_repeated(tmp_path):
    def fail(run: Run, config: Config) -> None:
        raise ArithmeticError("the walk left the town")

    broken = replace(STUDY, stages=(STUDY.stages[0], Stage("add", fail, (), ("numbers.json",))))
    with pytest.raises(ArithmeticError):
        broken.run(tmp_path / "c", Config())
    assert "the walk left the town" in (tmp_path / "c/log.jsonl").read_text()
    run = STUDY.run(tmp_path / "c", Config(), resume=True)
    assert run.complete("add")


def test_a_run_in_use_is_refused(run):
    with lock(run.path), ThreadPoolExecutor(1) as other, pytest.raises(LockedError, match="in use"):
        other.submit(STUDY.run, run.path, Config(), resume=True).result()


def test_a_listener_hears_every_event(tmp_path):
    heard = []
    run = STUDY.run(tmp_path / "d", Config(), listener=lambda event, facts: heard.append(event))
    assert heard == events(run) == ["begin", "complete", "begin", "complete"]


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_reach_nested_values():
    config = configure(Config(), ["walk.steps=7", "seed=1", "walk.width=1e-3"])
    assert config == Config(walk=Walk(steps=7, width=1e-3), seed=1)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("walk.stepz=7", "nearest is 'walk.steps'"),
        ("steps=7", "nearest is 'walk.steps'"),
        ("walk.steps=many", "walk.steps = 'many' is not allowed: it should be a whole number"),
        ("walk.width=.inf", "walk.width = inf is not allowed: it should be a finite number"),
        ("walk=3", "set one of walk.steps, walk.width"),
        ("walk.steps", "key=value"),
        ("walk.steps=[1", "not a YAML value"),
        ("walk.width=1:30", "walk.width = '1:30' is not allowed: it should be a finite number"),
        ("walk.steps=1:30", "walk.steps = '1:30' is not allowed: it should be a whole number"),
        ("walk.steps=2024-01-02", "walk.steps = '2024-01-02' is not allowed: it should be a whole number"),
        ("walk.steps=true", "walk.steps = true is not allowed: it should be a number"),
        ("walk.steps=1000000000000", "walk.steps = 1000000000000 is not allowed: nothing here is larger than 1e+08"),
        ("walk.width=-1e30", "walk.width = -1e+30 is not allowed: nothing here is larger than 1e+09"),
        ("walk.steps=[&a [1], *a]", "not a YAML value"),
        ("walk.steps=" + 5000 * "[", "not a YAML value"),
        ("walk.steps=" + 5000 * "9", "not a YAML value"),
    ],
)
def test_bad_settings_are_refused_in_words(setting, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        configure(Config(), [setting])
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "steps"), [("010", 10), ("+7", 7), ("0x10", 16), ("0o10", 8), ("1_000", 1000), ("08", 8), ("7.0", 7)]
)
def test_whole_numbers_are_read_as_people_mean_them(text, steps):
    assert configure(Config(), [f"walk.steps={text}"]).walk.steps == steps


@pytest.mark.parametrize(
    ("text", "width"), [("010.50", 10.5), ("1e-3", 0.001), (".5", 0.5), ("1E2", 100.0), ("2", 2.0)]
)
def test_numbers_are_read_as_people_mean_them(text, width):
    assert configure(Config(), [f"walk.width={text}"]).walk.width == width


TEXTS = [
    "010",
    "08",
    "1:30",
    "yes",
    "no",
    "on",
    "1e5",
    "1_000",
    "0x1F",
    "0b11",
    "~",
    "null",
    "true",
    ".inf",
    "2024-01-02",
]


def test_a_text_that_looks_like_a_number_is_read_back_as_text(tmp_path):
    content = {"texts": [*TEXTS, ""], "numbers": [10, -3, 1e-7, 1e300, 0.1, True, None, 10**20]}
    write_yaml(tmp_path / "page.yaml", content)
    assert read_yaml(tmp_path / "page.yaml") == content


def test_the_difference_of_two_configurations_leads_from_one_to_the_other():
    other = Config(walk=Walk(steps=9, width=0.5))
    assert configure(Config(), difference(Config(), other)) == other
    assert difference(other, other) == []


def test_unknown_presets_are_refused():
    with pytest.raises(ValueError, match="nearest is 'short'"):
        STUDY.configure("shrt")


# --- damage and its cures -------------------------------------------------------------------------------------------


def cured(run: Run, error: str) -> Run:
    """Delete the file that a message says to delete, and resume with what the run itself knows."""
    victim = Path(re.search(r"[Dd]elete (\S+)", error)[1])
    victim = victim if victim.is_absolute() else Path(re.match(r"\S+", error)[0])
    assert victim.is_relative_to(run.path)
    victim.unlink()
    return STUDY.run(run.path, STUDY.stored_config(Run(run.path)), resume=True)


@pytest.fixture
def unusual(tmp_path: Path) -> Run:
    """A run of no preset."""
    return STUDY.run(tmp_path / "u", configure(Config(), ["walk.steps=7", "seed=11"]))


def test_a_changed_digit_of_the_configuration_is_named_and_its_cure_leads_to_the_same_run(unusual):
    page = unusual.path / "config.yaml"
    before, stages = page.read_bytes(), unusual.stages
    page.write_bytes(before.replace(b"steps: 7", b"steps: 8"))
    for read in (lambda: unusual.config, lambda: STUDY.run(unusual.path, Config(), resume=True)):
        with pytest.raises(CorruptFileError, match=r"config\.yaml.*SHA-256.*Delete it and resume") as error:
            read()
    again = cured(unusual, str(error.value))
    assert page.read_bytes() == before and again.stages == stages
    assert events(again)[-2:] == ["skip", "skip"]


def test_no_flipped_bit_of_configuration_or_manifest_goes_unnoticed(unusual):
    for name in ("config.yaml", "manifest.json"):
        file = unusual.path / name
        content, config, stages = file.read_bytes(), unusual.config, unusual.stages
        for place in range(0, len(content), 11):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            file.write_bytes(changed)
            try:
                assert (unusual.config, unusual.stages) == (config, stages)
            except CorruptFileError as error:
                assert name in str(error)
        file.write_bytes(content)


def test_the_cure_of_a_damaged_manifest_keeps_the_configuration(unusual):
    file, config = unusual.path / "manifest.json", unusual.config
    outputs = unusual.stages["add"]["outputs"]
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CorruptFileError, match=r"manifest\.json.*delete it and resume") as error:
        STUDY.run(unusual.path, Config(), resume=True)
    again = cured(unusual, str(error.value))
    assert again.config == config and again.stages["add"]["outputs"] == outputs


@pytest.mark.parametrize(
    "content",
    ["[]", '"text"', '{"study": "walk"}', '{"study": "walk", "stages": {"draw": 3}}', '{"study": 1, "stages": {}}',
     '{"study": "walk", "stages": {"draw": {"state": "complete"}}}', '{"study": "walk", "stages": {"draw": {}}}'],
)  # fmt: skip
def test_a_manifest_of_another_shape_is_named(run, content):
    (run.path / "manifest.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"manifest\.json is not the manifest of a run.*delete it"):
        STUDY.run(run.path, Config(), resume=True)


def as_written_by_0_1(run: Run) -> None:
    manifest = {k: v for k, v in run.manifest.items() if k not in ("config", "config_hash", "hash")}
    write_json(run.path / "manifest.json", manifest)


def test_a_run_of_0_1_is_read_and_vouched_for_from_then_on(unusual):
    as_written_by_0_1(unusual)
    stages, config = unusual.stages, unusual.config
    STUDY.run(unusual.path, STUDY.stored_config(unusual), resume=True)
    assert unusual.stages == stages and unusual.config == config == unusual.manifest["config"]
    page = unusual.path / "config.yaml"
    page.write_bytes(page.read_bytes().replace(b"7", b"8"))
    with pytest.raises(CorruptFileError, match=r"config\.yaml"):
        STUDY.stored_config(unusual)


def test_a_run_of_0_1_without_its_configuration_is_not_begun_anew(unusual):
    as_written_by_0_1(unusual)
    (unusual.path / "config.yaml").unlink()
    before = (unusual.path / "manifest.json").read_bytes()
    with pytest.raises(FileNotFoundError, match=r"config\.yaml is missing.*--name"):
        STUDY.run(unusual.path, Config(), resume=True)
    assert (unusual.path / "manifest.json").read_bytes() == before


def test_a_folder_of_another_study_is_refused(run):
    other = replace(STUDY, name="flight")
    with pytest.raises(ValueError, match="study 'walk'"):
        other.run(run.path, Config(), resume=True)


def test_flipped_bytes_of_measured_curves_are_named_or_mean_nothing(run):
    file = run.path / "observables.nc"
    content, known = file.read_bytes(), run.hash("observables.nc:walk")
    for place in range(0, len(content), 97):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        file.write_bytes(changed)
        try:
            assert run.complete("add") and run.hash("observables.nc:walk") == known
        except CorruptFileError as error:
            assert "observables.nc" in str(error) and "elete" in str(error)


@pytest.mark.parametrize("content", ["[]", "3", '{"add": 3}', '{"add": [{"colour": 1}]}', '{"add": ["x"]}'])
def test_verdicts_of_0_1_of_another_shape_are_named(run, content):
    run._write_manifest(run.manifest | {"nearsight": "0.1.0"})
    (run.path / "verdicts.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"verdicts\.json"):
        assert run.checks == []


def test_half_a_line_of_the_log_does_not_swallow_the_next_event(run):
    log = run.path / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-9])
    run.log("note", text="after")
    run.log("note", text="again")
    lines = log.read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines[-2:]] == ["after", "again"]
    assert len(lines) == len(whole.splitlines()) + 2
    log.unlink()
    run.log("note", text="first")
    assert len(log.read_text().splitlines()) == 1


def test_what_a_killed_writer_left_in_a_run_is_removed(run):
    (run.path / ".observables.nc.0a1b2c3d").write_text("half")
    (run.path / ".model.previous").mkdir()
    (run.path / ".model.previous" / "model.yaml").write_text("old")
    STUDY.run(run.path, Config(), resume=True)
    assert not list(run.path.glob(".*")) and (run.path / "model" / "model.yaml").read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_named_with_the_file_of_curves(run):
    import resource

    before = (run.path / "observables.nc").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match=r"observables\.nc"):
            run.record("large", xr.Dataset({"x": ("i", np.arange(9000.0))}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (run.path / "observables.nc").read_bytes() == before
    assert not list(run.path.glob(".*"))


# --- studies of one's own ---------------------------------------------------------------------------------------------

OWN = """
from nearsight.studies import Section, Stage, Study
from nearsight.studies.checks import Check

class Config(Section):
    number: int = 3
    seed: int = 1

def count(run, config):
    run.record_checks("count", [Check("number", value=float(config.number))])

STUDY = Study(
    question="How many?",
    presets={"only": Config()},
    stages=(Stage("count", count, outputs=("checks.json:count",)),),
)
"""


def test_a_file_of_ones_own_is_a_study(tmp_path):
    (tmp_path / "my_own_count.py").write_text(OWN)
    study = get(str(tmp_path / "my_own_count.py"))
    run = study.run(tmp_path / "runs" / study.name / "four", study.configure(settings=["number=4"]))
    assert study.name == "my_own_count" and [check.value for check in run.checks] == [4.0]
    assert "How many?" in (run.path / "report.html").read_text()


def test_a_file_that_is_no_study_says_so(tmp_path):
    (tmp_path / "no_study_at_all.py").write_text("STUDY = 1\n")
    with pytest.raises(ValueError, match="no STUDY"):
        get(str(tmp_path / "no_study_at_all.py"))
    with pytest.raises(FileNotFoundError, match="There is no file"):
        get(str(tmp_path / "missing.py"))
    (tmp_path / "json.py").write_text(OWN)
    with pytest.raises(ValueError, match="another name"):
        get(str(tmp_path / "json.py"))
