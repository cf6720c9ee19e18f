#!/usr/bin/env bash
# Make the virtual environment: exact versions, a CPU build of torch first, then Solon itself.
#   PYTHON  which interpreter (python3)     TORCH  which torch (a CPU build of the version in constraints.txt)
set -euo pipefail
venv=${1:-.venv}
python=${PYTHON:-python3}
version=$(sed -n 's/^torch==//p' constraints.txt)

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Solon needs Python 3.11 or newer; name one: make venv PYTHON=python3.12" >&2
    exit 1
}
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 && ! "$python" -m venv "$venv"; then
    # Debian keeps `venv` in a package of its own.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q && apt-get install -y -q python3-venv
        "$python" -m venv --clear "$venv"
    else
        echo "Python cannot make virtual environments here; type: sudo apt-get install python3-venv" >&2
        exit 1
    fi
fi
install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -c constraints.txt; }

# Elsewhere than on Linux the plain build is the CPU build. On Linux it would pull gigabytes of CUDA packages, so the
# CPU build is asked for by name, wherever pip is set up to look.
if [ -n "${TORCH:-}" ]; then
    install "$TORCH"
elif [ "$(uname -s)" != Linux ]; then
    install "torch==$version"
elif ! install "torch==$version+cpu"; then
    echo "pip found no CPU build of torch $version. Tell it where one is, an index or a folder of wheels, and try again:" >&2
    echo "  PIP_EXTRA_INDEX_URL=INDEX make venv      or      PIP_FIND_LINKS=FOLDER make venv" >&2
    echo "or take the build with CUDA packages: make venv TORCH=torch==$version" >&2
    exit 1
fi
install -e '.[dev]'
