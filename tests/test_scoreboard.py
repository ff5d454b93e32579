"""Runs beside one another and beside the papers: what counts as worse, and what the scoreboard keeps."""

import json
import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nearsight.cli.app import app
from nearsight.storage import CorruptFileError, write_json
from nearsight.studies import Run, get, scoreboard
from nearsight.studies.checks import Above, Below, Check, Published, PValue, Sigma, Within
from nearsight.studies.comparison import compare, worse

DOCS = Path(__file__).parent.parent / "docs"
PAPER = Published(0.023, "arXiv:2201.00798, fig. 5")
ERROR = Check("density error", 0.0052, 0.0001, published=PAPER, criterion=Below(0.006))
SIZE = Check("domain size", 12.5, 0.5, unit="a")


def nearsight(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "150"})


@pytest.fixture
def make(tmp_path):
    """A run of the tiny preset that holds checks as if it had been carried out."""

    def make(name: str, *checks: Check, study: str = "holstein", settings: tuple[str, ...] = ()) -> Run:
        config = get(study).configure("tiny", settings)
        run = Run.create(tmp_path / study / name, study, config.model_dump(mode="json"))
        run.record_checks("validate", checks)
        return run

    return make


# --- comparing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criterion", "first", "other", "answer"),
    [
        (Below(9), 1.0, 1.27, False),
        (Below(9), 1.0, 1.29, True),
        (Below(9), 1.0, 0.2, False),
        (Above(-9), 1.0, 0.71, True),
        (Above(-9), 1.0, 1.9, False),
        (Within(9), 5.1, 4.7, False),
        (Within(9), 5.1, 4.6, True),
        (Within(9, relative=True), 4.9, 5.5, True),
        (Sigma(99), 5.0, 5.5, True),
        (Sigma(99), 5.5, 5.0, False),
        (None, 1.0, 99.0, False),
    ],
    ids=repr,
)
def test_two_standard_errors_to_the_bad_side_are_worse(criterion, first, other, answer):
    """The difference of two values with errors of 0.1 has the standard error 0.141."""
    a, b = (Check("x", value, 0.1, exact=5.0, criterion=criterion) for value in (first, other))
    assert worse(a, b) is answer


@pytest.mark.parametrize("error", [None, math.nan])
def test_without_errors_only_the_verdict_counts(error):
    a, b, c = (Check("x", value, error, criterion=Below(6)) for value in (1.0, 5.0, 7.0))
    assert not worse(a, b) and worse(a, c) and not worse(c, c)


def test_p_values_are_worse_only_when_they_fail():
    a, b, c = (Check("x", value, criterion=PValue()) for value in (0.9, 0.02, 0.005))
    assert not worse(a, b) and worse(a, c)


def test_what_was_judged_must_be_there():
    assert worse(ERROR, None) and not worse(SIZE, None) and not worse(None, ERROR)
    assert worse(ERROR, Check("density error", None, criterion=Below(0.006), note="diverged"))


def test_the_error_of_the_reference_counts_where_values_are_compared_with_it():
    a, b = (Check("x", x, 0.1, exact=5.0, exact_error=0.3, criterion=Sigma(99)) for x in (5.0, 5.5))
    assert not worse(a, b)


def test_runs_are_shown_with_what_differs_between_them(make):
    a, b = make("a", ERROR, SIZE), make("b", ERROR, SIZE, settings=("model.g=1.4", "seed=3"))
    found = compare([a.path, b.path])
    assert found.settings == {"model.g": (1.5, 1.4), "seed": (1, 3)} and found.passed
    shown = nearsight("compare", a.path, b.path)
    assert shown.exit_code == 0, shown.output
    for words in ("model.g", "1.4", "0.0052 ± 0.0001, pass", "12.5 ± 0.5 a", "≤ 0.006", "created"):
        assert words in shown.stdout
    assert "mu" not in shown.stdout and "worse" not in shown.stdout


def test_a_failure_and_a_check_that_got_worse_end_with_one(make):
    a, b = make("a", ERROR, SIZE), make("b", Check("density error", 0.0058, 0.0001, criterion=Below(0.006)))
    c = make("c", Check("density error", 0.0061, criterion=Below(0.006)))
    for other, words in ((b, "0.0058 ± 0.0001, pass, worse"), (c, "0.0061, FAIL, worse")):
        shown = nearsight("compare", a.path, other.path)
        assert shown.exit_code == 1 and words in shown.stdout
    assert nearsight("compare", b.path, a.path).exit_code == 0
    assert nearsight("compare", c.path, c.path).exit_code == 1


def test_a_comparison_as_json_holds_every_number(make):
    lost = Check("lost", math.nan, note="diverged")
    a, b = make("a", ERROR, lost), make("b", Check("density error", 1 / 3, criterion=Below(0.006)), SIZE)
    shown = nearsight("compare", a.path, b.path, "--json")
    content = json.loads(shown.stdout, parse_constant=pytest.fail)
    assert shown.exit_code == 1 and content["passed"] is False and content["study"] == "holstein"
    by_name = {row["name"]: row for row in content["checks"]}
    assert by_name["density error"]["checks"][1]["value"] == 1 / 3
    assert by_name["density error"]["worse"] == [False, True]
    assert by_name["lost"]["checks"] == [lost.config() | {"passed": None}, None]
    assert [Path(run["path"]) for run in content["runs"]] == [a.path, b.path] and content["runs"][0]["created"]


def test_runs_that_cannot_be_compared_are_refused_in_words(make, tmp_path):
    a, other = make("a", ERROR), make("a", ERROR, study="skyrmion")
    empty, old = make("empty"), make("old")
    (old.path / "checks.json").unlink()
    write_json(old.path / "verdicts.json", {"validate": []})
    for path, words in (
        (other.path, "different studies"),
        (tmp_path / "none", "There is no run in"),
        (empty.path, "holds no checks yet. Resume it"),
        (old.path, r"Delete verdicts\.json and the folders.* and resume"),
    ):
        shown = nearsight("compare", a.path, path)
        assert shown.exit_code == 2 and re.search(words, shown.stderr), shown.output
    assert "takes two runs" in nearsight("compare", a.path).stderr


# --- the scoreboard ---------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_file_holds():
    records = scoreboard.read(DOCS / "scoreboard.json")
    assert scoreboard.page(records) == (DOCS / "scoreboard.md").read_text(encoding="utf-8")
    assert scoreboard.COMMITTED == DOCS / "scoreboard.json"


def test_every_number_on_the_scoreboard_stands_beside_one_in_print():
    records = scoreboard.read(DOCS / "scoreboard.json")
    assert scoreboard.merge(records, []) == records  # sorted, and no run twice
    for one in records:
        assert one.checks and all(check.published is not None and check.value is not None for check in one.checks)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", one.date) and one.seed is not None and one.machine
        assert one.command.startswith(f"nearsight run {one.study} --preset ")


def test_without_a_run_the_command_shows_the_committed_numbers():
    shown = nearsight("scoreboard")
    assert shown.exit_code == 0, shown.output
    assert "nearsight run holstein --preset quick" in shown.stdout and "0.023" in shown.stdout


def test_a_run_takes_the_place_of_its_record_and_leaves_the_others(make, tmp_path):
    file = tmp_path / "board" / "scoreboard.json"
    a, b = make("a", ERROR, SIZE), make("b", ERROR, settings=("model.g=1.4",))
    scoreboard.write(file, [scoreboard.record(a.path), scoreboard.record(b.path)])
    again = make("again", Check("density error", 0.1 + 0.2, published=PAPER, note="a | b"))
    shown = nearsight("scoreboard", again.path, "--write", file)
    assert shown.exit_code == 0, shown.output
    first, second = scoreboard.read(file)
    assert first.command == "nearsight run holstein --preset tiny" and first.checks == tuple(again.checks)
    assert second.command == "nearsight run holstein --preset tiny --set model.g=1.4" and second.checks == (ERROR,)
    assert first.seed == 1 and first.date == a.manifest["created"][:10] and "cores" in first.machine
    page = file.with_suffix(".md").read_text(encoding="utf-8")
    assert page == scoreboard.page([first, second]) and r"a \| b" in page and page.count("## holstein") == 1


def test_a_new_file_begins_with_the_committed_numbers(make, tmp_path):
    assert nearsight("scoreboard", make("a", ERROR).path, "--write", tmp_path / "new.json").exit_code == 0
    known = scoreboard.read(DOCS / "scoreboard.json")
    assert len(scoreboard.read(tmp_path / "new.json")) == len(known) + 1


def test_a_scoreboard_that_is_none_is_named(make, tmp_path):
    file = tmp_path / "scoreboard.json"
    for content in ("[3]", '[{"study": "x"}]', '{"a": 1}', "[", '[{"checks": [{"name": "x"}]}]'):
        file.write_text(content)
        with pytest.raises(CorruptFileError, match=r"scoreboard\.json.*Restore a copy"):
            scoreboard.read(file)
    assert "no scoreboard" in nearsight("scoreboard", "--write", file).stderr
    assert "published number" in nearsight("scoreboard", make("a", SIZE).path).stderr
    with pytest.raises(ValueError, match=r"use scoreboard\.json"):
        scoreboard.write(tmp_path / "page.md", [])


def test_an_installation_without_a_scoreboard_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(scoreboard, "COMMITTED", tmp_path / "scoreboard.json")
    shown = nearsight("scoreboard")
    assert shown.exit_code == 2 and "comes with a checkout" in shown.stderr
