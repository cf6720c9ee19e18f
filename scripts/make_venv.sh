#!/usr/bin/env bash
# Make a virtual environment: exact versions, a CPU build of torch first, then Solon itself.
#   scripts/make_venv.sh [VENV [WHAT ...]]    WHAT is what pip installs after torch (-e .[dev,docs])
#   PYTHON  which interpreter (python3)     TORCH  which torch (of the version in constraints.txt, a CPU build where pip finds one)
#   CONSTRAINTS  the file of exact versions (constraints.txt)
set -euo pipefail
venv=${1:-.venv}
what=("${@:2}")
[ ${#what[@]} -gt 0 ] || what=(-e '.[dev,docs]')
python=${PYTHON:-python3}
constraints=${CONSTRAINTS:-constraints.txt}
version=$(sed -n 's/^torch==//p' "$constraints")

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
install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -c "$constraints"; }

# Elsewhere than on Linux the plain build is the CPU build. On Linux it brings gigabytes of CUDA packages, so the CPU
# build is asked for by name first, wherever pip is set up to look. The plain one runs on CPUs as well.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ -n "${TORCH:-}" ]; then
    install "$TORCH"
elif [ "$(uname -s)" != Linux ]; then
    install "torch==$version"
elif ! install "torch==$version+cpu" >"$log" 2>&1; then
    echo "pip finds no CPU build of torch $version and now fetches the ordinary one, which runs on CPUs too but brings" \
        "gigabytes of CUDA packages; to avoid them, stop this and type" \
        "PIP_EXTRA_INDEX_URL=INDEX make venv, where INDEX is the address of PyTorch's CPU builds" >&2
    install "torch==$version"
fi
install "${what[@]}"
