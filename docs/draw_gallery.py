"""Draw the pictures of gallery.md by the lines printed there: `python docs/draw_gallery.py [NAME ...]`."""

import re
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("gallery.md")
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n\n!\[[^\]]*\]\((?P<image>images/gallery_(?P<name>\w+)\.png)\)", re.M | re.S
)


def main(names: list[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        if names and found["name"] not in names:
            continue
        print(found["name"])
        namespace: dict = {"__name__": "gallery"}
        line = text.count("\n", 0, found.start("code"))
        exec(compile("\n" * line + found["code"], str(PAGE), "exec"), namespace)
        (PAGE.parent / found["image"]).write_bytes(namespace["picture"].png())


if __name__ == "__main__":
    main(sys.argv[1:])
