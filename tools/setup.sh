#!/bin/sh
# Makes the environment in the folder $1 and installs what is missing. Quick when nothing is.
set -eu
venv=$1
python=${PYTHON:-python3.11}
mark="$venv/.setup-$(cat requirements.lock pyproject.toml tools/setup.sh | sha256sum | cut -c1-16)"
[ -e "$mark" ] && exit 0

# What Blender's module loads, and (second line) what brings up the real Blender window in tests/gui.
needed="libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libice6 libgl1 libegl1 libegl-mesa0 libgl1-mesa-dri"
wished="debootstrap xvfb xauth xdotool imagemagick x11-utils"

is_installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q "ok installed"; }
lacking() { for name in "$@"; do is_installed "$name" || printf ' %s' "$name"; done; }
install() {
    echo "setup: installing system packages:$1"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1 >/dev/null
}

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    missing=$(lacking $needed)
    extra=$(lacking $wished)
    if [ "$(id -u)" = 0 ]; then
        [ -z "$missing" ] || install "$missing"
        [ -z "$extra" ] || install "$extra" || echo "setup: without these the tests of the real Blender window are skipped:$extra"
    elif [ -n "$missing" ]; then
        echo "setup: these system packages are missing. Install them, then run this again:" >&2
        echo "    sudo apt-get install$missing" >&2
        exit 1
    elif [ -n "$extra" ]; then
        echo "setup: the tests of the real Blender window are skipped until you: sudo apt-get install$extra"
    fi
else
    echo "setup: this is neither Debian nor Ubuntu; make sure these libraries are there: $needed"
fi

if [ ! -x "$venv/bin/python" ]; then
    command -v "$python" >/dev/null || { echo "setup: Python 3.11 is needed ($python was not found). Install it, or: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
    "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "setup: $python is not Python 3.11." >&2; exit 1; }
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            install " python3.11-venv"
        else
            echo "setup: Python's venv module is missing: sudo apt-get install python3.11-venv" >&2
            exit 1
        fi
    fi
    echo "setup: making $venv"
    "$python" -m venv "$venv"
fi

echo "setup: installing Python packages (about 3 GB on disk with a CPU build of torch)"
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$venv/bin/python" -m pip install --quiet --no-deps --require-hashes -r requirements.lock
torch=$("$venv/bin/python" -c 'import tomllib; print(next(d for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"] if d.startswith("torch==")))')
"$venv/bin/python" -m pip install --quiet --no-warn-conflicts "$torch"
rm -f "$venv"/.setup-*
touch "$mark"
echo "setup: done"
