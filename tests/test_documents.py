"""What the documents tell a reader to type exists, and what they point to is there."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def typed(page: Path) -> str:
    """Everything set as code: what a reader copies."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(?:bash|text)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", text)])


@pages
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", typed(page), re.MULTILINE)) <= targets


@pages
def test_commands_and_their_options_exist(page):
    from typer.main import get_command

    from nearsight.cli.app import app

    commands = get_command(app).commands
    for name, rest in re.findall(r"^(?:srun |\.venv/bin/)?nearsight ([a-z]+)([^\n#]*)", typed(page), re.MULTILINE):
        assert name in commands, name
        known = {option for parameter in commands[name].params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known


@pages
def test_studies_and_presets_exist(page):
    from nearsight.studies import get, names

    for name, rest in re.findall(r"nearsight run ([a-z_]+)([^\n#]*)", typed(page)):
        assert name in names()
        assert set(re.findall(r"--preset (\w+)", rest)) <= set(get(name).presets)
        for setting in re.findall(r"--set (\S+)", rest):
            get(name).configure(settings=[setting])


@pages
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_every_study_has_its_docstring_on_the_page_of_studies():
    from nearsight.studies import names

    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    assert re.findall(r"^::: nearsight\.studies\.systems\.(\w+)$", page, re.MULTILINE) == names()


def test_every_page_is_in_the_navigation():
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)

    def files(entry) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        return {name for part in (entry.values() if isinstance(entry, dict) else entry) for name in files(part)}

    assert files(config["nav"]) == {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}


def test_versions_agree():
    import nearsight

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    assert str(cited) == nearsight.__version__
    assert f"## {nearsight.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_lock_files_pin_everything_exactly_and_torch_first():
    for name in ("requirements.lock", "requirements-dev.lock"):
        lines = [x for x in (ROOT / name).read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
        assert name != "requirements.lock" or lines[0].startswith("torch==")


def test_brackets_of_averages_are_no_tags():
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "hooks" / "docstrings.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = "Mean <n_i> of `a<b>c`, 1/<|k|>:\n\n    <n> as code\n"
    assert hook.markdown(text) == text.replace("Mean <n_i>", "Mean &lt;n_i&gt;")
