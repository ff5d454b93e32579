"""Checks are numbers: what passes, what never does, what is stored, and how it reads."""

import io
import json
import math

import numpy as np
import pytest
import torch
import xarray as xr
from rich.console import Console

from nearsight.cli._terminal import check_table
from nearsight.storage import CorruptFileError, write_json
from nearsight.studies import Run
from nearsight.studies.checks import Above, Below, Check, Published, PValue, Sigma, Within, number_cell

PAPER = Published(0.023, "arXiv:2201.00798, fig. 5", note="30 × 30 sites")
CHECKS = (
    Check("density error, std", 0.00523, 0.0002, published=PAPER, criterion=Below(0.006), note="8 trajectories"),
    Check("displacement", 2.3438, unit="a", exact=2.3428, criterion=Within(0.02, relative=True)),
    Check("L(t): same mean curve", 0.2213, criterion=PValue()),
    Check("exponent", 0.374123, 0.00812, published=Published(0.5, "Allen, Cahn 1979", 0.01), criterion=Sigma(3)),
    Check("exact / learned time", 1 / 3, criterion=Above(100)),
    Check("domain size", 12.345, unit="a"),
    Check("growth", None, note="too few records"),
    Check("lost", math.nan, math.inf, exact=-math.inf, criterion=Above(0)),
)


@pytest.mark.parametrize(
    ("criterion", "good", "bad"),
    [
        (Below(0.5), 0.5, 0.51),
        (Above(0.5), 0.5, 0.49),
        (Within(0.25), 2.25, 1.74),
        (Within(0.25, relative=True), 2.5, 1.49),
        (Sigma(2), 2.99, 3.01),
        (Sigma(2), 1.01, 0.99),
        (PValue(0.25), 0.251, 0.25),
    ],
    ids=repr,
)
def test_a_criterion_is_met_up_to_its_bound(criterion, good, bad):
    def check(value):
        return Check("x", value, 0.3, exact=2.0, exact_error=0.4, criterion=criterion)

    assert check(good).passed is True and check(good).word == "pass"
    assert check(bad).passed is False and check(bad).word == "FAIL"


@pytest.mark.parametrize("criterion", [Below(1), Above(-1), Within(9), Within(9, relative=True), Sigma(9)], ids=repr)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_passes_nothing(criterion, value):
    assert Check("x", value, None, exact=0.5, exact_error=1.0, criterion=criterion, note="why").passed is False
    if value is not None and criterion not in (Below(1), Above(-1)):
        assert Check("x", 0.5, 1.0, exact=value, exact_error=1.0, criterion=criterion).passed is False


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_an_unknown_error_excuses_nothing(error):
    assert Check("x", 0.5, error, exact=0.6, criterion=Sigma(3)).passed is False
    assert Check("p", math.nan, criterion=PValue()).passed is False


def test_without_a_criterion_nothing_is_judged():
    assert Check("x", 3.0, exact=1.0).passed is None and Check("x", math.nan).word == "not judged"


def test_the_exact_number_is_the_reference_before_the_published_one():
    published = Published(5.0, "a paper", 1.0)
    assert Check("x", 1.1, 0.1, exact=1.0, published=published, criterion=Sigma(1.01)).passed
    assert Check("x", 4.0, 0.1, published=published, criterion=Sigma(1)).passed
    assert not Check("x", 4.0, 0.1, exact=1.0, published=published, criterion=Sigma(1)).passed


def test_sigma_takes_the_errors_of_both():
    assert Check("x", 0.0, 3.0, exact=5.0, exact_error=4.0).combined_error == 5.0
    assert Check("x", 0.0, published=Published(1, "a paper", 0.5)).combined_error == 0.5


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_comes_back_from_json_with_all_digits(check):
    text = json.dumps(check.config(), allow_nan=False)
    assert Check.from_config(json.loads(text)) == check
    assert json.dumps(Check.from_config(json.loads(text)).config()) == text


@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(0.5), np.array(0.5), torch.tensor(0.5)], ids=repr)
def test_numbers_of_every_library_are_stored_alike(value):
    check = Check("x", value, value, exact=value, criterion=Within(value))
    assert check == Check("x", 0.5, 0.5, exact=0.5, criterion=Within(0.5)) and type(check.value) is float
    assert math.isnan(Check("x", value * math.nan).value)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Check(" ", 1.0), ValueError, "name must not be empty"),
        (lambda: Check("x", None), ValueError, "note must say why"),
        (lambda: Check("x", "0.5 ± 0.1"), TypeError, "value must be a real number"),
        (lambda: Check("x", True), TypeError, "value must be a real number"),
        (lambda: Check("x", np.zeros(2)), TypeError, "value must be a real number"),
        (lambda: Check("x", 1.0, -0.1), ValueError, "error must be a real number ≥ 0"),
        (lambda: Check("x", 1.0, exact_error=0.1), ValueError, "give exact, too"),
        (lambda: Check("x", None, 0.1, note="why"), ValueError, "give value, too"),
        (lambda: Check("x", 1.0, published=0.5), TypeError, "published must be a Published"),
        (lambda: Check("x", 1.0, criterion=0.5), TypeError, "criterion must be a Below or"),
        (lambda: Check("x", 1.0, criterion=Below), TypeError, "call it: Below"),
        (lambda: Check("x", 1.0, criterion=Within(0.1)), ValueError, "compared with nothing"),
        (lambda: Check("x", 1.0, exact=1.0, criterion=Sigma(2)), ValueError, "judged in standard errors"),
        (lambda: Check("x", 1.1, criterion=PValue()), ValueError, "p-value of 'x'.*≤ 1"),
        (lambda: Published(0.5, ""), ValueError, "source must not be empty"),
        (lambda: Published(math.nan, "a paper"), ValueError, "finite"),
        (lambda: Published(0.5, "a paper", -1.0), ValueError, "error must be"),
        (lambda: Below(math.inf), ValueError, "bound must be a finite"),
        (lambda: Above("1"), TypeError, "bound must be a finite"),
        (lambda: Within(-0.1), ValueError, "tolerance must be"),
        (lambda: Within(0.1, relative=1), TypeError, "relative must be True or False"),
        (lambda: Sigma(0), ValueError, "most must be"),
        (lambda: PValue(1.0), ValueError, "least must be"),
    ],
)
def test_bad_checks_are_refused_in_words(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((None,), "–"),
        ((2.34283,), "2.343"),
        ((2.2e-7,), "2.2e-07"),
        ((0.374123, 0.00812), "0.3741 ± 0.0081"),
        ((69.23, 4.51), "69.2 ± 4.5"),
        ((0.003, 0.4), "0.003 ± 0.4"),
        ((2.0, 0.0), "2 ± 0"),
        ((-6.315172, None, 2e-5), "-6.315172"),
        ((114.26, None, 30.0), "114.3"),
        ((math.nan, 0.1), "nan ± 0.1"),
        ((1.5, math.inf), "1.5 ± inf"),
    ],
)
def test_numbers_show_what_their_errors_allow(numbers, text):
    assert number_cell(*numbers) == text


def test_a_check_reads_as_a_row_and_as_a_sentence():
    rows = {check.name: check.cells() for check in CHECKS}
    assert rows["density error, std"] == {
        "check": "density error, std", "value": "0.00523 ± 0.0002", "exact": "–", "published": "0.023",
        "criterion": "≤ 0.006", "verdict": "pass",
    }  # fmt: skip
    assert rows["displacement"]["value"] == "2.344 a" and rows["displacement"]["criterion"] == "within 2 %"
    assert rows["L(t): same mean curve"]["value"] == "p = 0.22"
    assert rows["L(t): same mean curve"]["criterion"] == "p > 0.01"
    assert rows["exponent"]["published"] == "0.5 ± 0.01" and rows["exponent"]["criterion"] == "≤ 3 σ"
    assert rows["growth"]["value"] == "–" and rows["lost"]["value"] == "nan ± inf"
    assert str(CHECKS[0]) == (
        "density error, std = 0.00523 ± 0.0002 (published 0.023, arXiv:2201.00798, fig. 5), wanted ≤ 0.006: pass"
    )
    assert str(CHECKS[5]) == "domain size = 12.35 a"


def test_the_terminal_shows_every_cell_and_remark():
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(check_table([*CHECKS, Check("k [1/a]", 1.0)]))
    text = " ".join(console.export_text().split())
    for words in (
        "k [1/a]",
        "2.344 a",
        "p = 0.22",
        "FAIL",
        "not judged",
        "growth: too few records",
        "fig. 5 (30 × 30 sites)",
    ):
        assert words in text


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_sentences_of_0_1_are_shown_but_not_judged_again(run):
    empty = {"exact": None, "learned": None, "paper": None, "target": None, "passed": None, "note": ""}
    told = [
        {"quantity": "density error", **empty, "learned": 0.5, "paper": 0.023, "target": "≤ 0.03", "passed": False},
        {"quantity": "L(t)", **empty, "exact": "1.9 ± 0.1", "learned": "p = 0.5", "passed": True, "note": "t = 2"},
        {"quantity": "displacement", **empty, "exact": 2.5, "learned": 2.25},
    ]
    write_json(run.path / "verdicts.json", {"validate": told, "simulate": []})
    write_json(run.path / "manifest.json", {"study": "x", "stages": {}, "nearsight": "0.1.0"}, hashed=True)
    assert run.checks == [
        Check("density error", 0.5, note="nearsight 0.1: paper 0.023, target ≤ 0.03, FAIL"),
        Check("L(t)", None, note="nearsight 0.1: exact 1.9 ± 0.1, learned p = 0.5, pass; t = 2"),
        Check("displacement", 2.25, exact=2.5, note="nearsight 0.1: not judged"),
    ]
    run.record_checks("validate", CHECKS[:1])  # the stage has run again
    assert run.checks == list(CHECKS[:1])
    write_json(run.path / "verdicts.json", {"simulate": [{"quantity": "x"}]})
    with pytest.raises(CorruptFileError, match=r"verdicts\.json holds no verdicts.*elete"):
        _ = run.checks


def test_a_run_keeps_the_checks_of_all_stages_in_their_order(run):
    assert run.checks == []
    run.record_checks("validate", CHECKS[:3])
    run.record_checks("simulate", CHECKS[3:])
    hashes = [run.hash(f"checks.json:{stage}") for stage in ("validate", "simulate")]
    assert Run(run.path).checks == list(CHECKS)
    run.record_checks("validate", CHECKS[:2])
    assert run.checks == [*CHECKS[:2], *CHECKS[3:]]
    assert run.hash("checks.json:simulate") == hashes[1] != hashes[0] != run.hash("checks.json:validate")
    with pytest.raises(FileNotFoundError, match=r"nothing about 'train'"):
        run.hash("checks.json:train")


def test_a_name_is_used_once_in_a_run(run):
    run.record_checks("validate", CHECKS[:1])
    with pytest.raises(ValueError, match="twice there is density error"):
        run.record_checks("simulate", CHECKS[:1])
    with pytest.raises(ValueError, match="twice there is growth"):
        run.record_checks("simulate", [CHECKS[6], CHECKS[6]])
    assert run.checks == list(CHECKS[:1])


def test_changed_checks_are_named_with_the_cure(run):
    run.record_checks("validate", CHECKS)
    path = run.path / "checks.json"
    path.write_bytes(path.read_bytes().replace(b"0.00523", b"0.00123"))
    with pytest.raises(CorruptFileError, match=r"checks\.json.*delete it and resume"):
        _ = run.checks


@pytest.mark.parametrize(
    "content",
    [[3], ["x"], [{"colour": 1}], [{"name": "x"}], [{"name": "x", "value": 1, "criterion": {"type": "Best"}}]],
    ids=repr,
)
def test_checks_of_another_shape_are_named(run, content):
    write_json(run.path / "checks.json", {"validate": content}, hashed=True)
    with pytest.raises(CorruptFileError, match=r"checks\.json holds no checks"):
        _ = run.checks


def test_a_mean_of_lengths_that_some_replicas_do_not_have_is_not_given_and_said():
    from nearsight.studies.ensembles import at_end

    length = xr.DataArray([3.0, 5.0, np.inf], dims="replica", coords={"time": 8.0})
    check = at_end("domain size", length)
    assert check.value is None and "1 of 3 replicas" in check.note
    assert at_end("domain size", length[:2]).value == 4.0
