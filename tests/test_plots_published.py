"""Tables of published numbers: read with their cards, refused in words."""

import pytest
import yaml

from nearsight import plots
from nearsight.storage import CorruptFileError


@pytest.fixture
def table(tmp_path):
    """Writes a table and its card."""

    def write(text: str = "t,L,L_error\n1,2.0,0.1\n10,3.0,0.2\n", **card) -> object:
        path = tmp_path / "digitised.csv"
        path.write_text(text, encoding="utf-8")
        entries = {"quantity": "length of super-clusters", "source": "made-up paper, fig. 1"} | card
        path.with_suffix(".yaml").write_text(yaml.safe_dump({k: v for k, v in entries.items() if v is not None}))
        return path

    return write


def test_a_table_is_read_with_its_card(table):
    path = table(units={"t": "100 steps", "L": "a"}, scale={"t": 100, "L": 2}, label="paper")
    published = plots.read_published(path)
    t, L, error = published.curve("t", "L")
    assert t.tolist() == [100.0, 1000.0] and L.tolist() == [4.0, 6.0]
    assert error.tolist() == [0.2, 0.4]  # errors scale with their column
    assert published.units == {"t": "100 steps", "L": "a"} and published.label == "paper"
    assert plots.read_published(table("t,l\n1,2\n\n")).curve("t", "l")[2] is None


@pytest.mark.parametrize(
    ("text", "card", "cure"),
    [
        ("t,L\n1,2\n", {"source": None}, "must say 'quantity' and 'source'"),
        ("t,L\n1,2\n", {"colour": "red"}, "a card knows"),
        ("t,L\n", {}, "one or more lines of numbers"),
        ("t,t\n1,2\n", {}, "different names"),
        ("t,L\n1,two\n", {}, "no number"),
        ("t,L\n1,2\n3\n", {}, "needs 2 numbers"),
        ("t,L\n1,nan\n", {}, "NaN or infinite"),
        ("t,L\n1,2\n", {"scale": {"x": 2}}, "must be by column"),
        ("t,L\n1,2\n", {"units": "a"}, "must be by column"),
    ],
)
def test_a_bad_table_is_refused_with_the_cure(table, text, card, cure):
    with pytest.raises(ValueError, match=cure):
        plots.read_published(table(text, **card))


def test_a_table_without_its_card_or_column_is_missed(table, tmp_path):
    with pytest.raises(ValueError, match="no column 'phi', but t, L"):
        plots.read_published(table()).curve("t", "phi")
    with pytest.raises(FileNotFoundError, match="card"):
        (tmp_path / "alone.csv").write_text("t,L\n1,2\n")
        plots.read_published(tmp_path / "alone.csv")
    path = table()
    path.with_suffix(".yaml").write_text("quantity: [")
    with pytest.raises(CorruptFileError, match="YAML"):
        plots.read_published(path)
