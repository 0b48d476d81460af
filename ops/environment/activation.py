"""Let an activated environment give `torchserve --start` a private temporary folder, as `make serve` does.

TorchServe keeps its pid file in TMPDIR, and worker sockets and the unpacked model in TEMP. In a folder that users
share, the second user's server does not start, or another user may exchange the handler that the first one runs.
Runs on the machine's own Python, before anything is installed.
"""

from __future__ import annotations

from pathlib import Path

BEGIN = "# disaster-tweets: a private temporary folder for torchserve"
BLOCK = f"""
{BEGIN}
_ts_folder="ts-$(id -u)-$(printf %s "$VIRTUAL_ENV" | cksum | cut -d' ' -f1)"
case "${{TMPDIR:-/tmp}}" in
    */"$_ts_folder") _ts_folder="$TMPDIR" ;;  # activated before, in this shell
    *) _ts_folder="${{TMPDIR:-/tmp}}/$_ts_folder" ;;
esac
mkdir -m 700 "$_ts_folder" 2>/dev/null
if [ -d "$_ts_folder" ] && [ ! -L "$_ts_folder" ] && [ -O "$_ts_folder" ] && chmod 700 "$_ts_folder" ; then
    TMPDIR="$_ts_folder"
    TEMP="$_ts_folder"
    export TMPDIR TEMP
else
    echo "activate: $_ts_folder is no folder of this user; set TMPDIR to a folder of your own and activate again" >&2
fi
unset _ts_folder
"""


def add_private_folder(venv: Path) -> bool:
    """Add it to the script that bash, dash and zsh activate an environment with; tell whether it was missing."""
    script = venv / "bin" / "activate"
    text = script.read_text(encoding="utf-8") if script.is_file() else BEGIN  # without the script nobody activates it
    if BEGIN in text:
        return False
    script.write_text(text + BLOCK, encoding="utf-8")
    return True
