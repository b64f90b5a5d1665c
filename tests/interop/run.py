"""Starts a sandbox of its own and lets clients of npm talk to it: `make interop`. Needs node and npm."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from domain.store.embedded import open_embedded
from tests.wallet_command import PROGRAMME, free_port, wallet_command

HERE = Path(__file__).parent


def main() -> int:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        sys.exit("make interop needs node and npm on the PATH.")
    subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--silent"], cwd=HERE, check=True)
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="interop-", ignore_cleanup_errors=True) as folder,
        open_embedded(Path(folder)) as embedded,
        wallet_command(embedded.url, "interop") as wallet,
        wallet.serving("--programme", str(PROGRAMME), port=port),
    ):
        return subprocess.run([node, "run.mjs", f"http://127.0.0.1:{port}"], cwd=HERE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
