#!/usr/bin/env bash
# Make a node's Python environment in FOLDER/venv from FOLDER/requirements.lock, in the two steps of .ci/environment:
# torch with its own dependencies (a CPU or a CUDA build, whichever the machine's pip is set up for), then the lock with
# no resolving. Used by the Dockerfiles here and by the set-up of nodes that run without a container. Done once for a
# lock: what is there for the same lock stays.
set -euo pipefail
folder=${1:?usage: environment.sh FOLDER [PACKAGE ...]}
shift
made="$folder/venv/.made"
wanted=$(sha256sum "$folder/requirements.lock" | cut -d ' ' -f 1)" $*"
[ "$(cat "$made" 2>/dev/null)" = "$wanted" ] && exit 0

python=""
find_python() {
    for name in python3.11 python3.12; do
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then python=$name; fi
    done
}
find_python
if [ -z "$python" ]; then
    sudo apt-get update -q
    sudo apt-get install -yq --no-install-recommends build-essential python3.12-venv python3.12-dev ||
        sudo apt-get install -yq --no-install-recommends build-essential python3.11-venv python3.11-dev
    find_python
fi
[ -n "$python" ] || { echo "Raysmith needs Python 3.11 or 3.12 with venv: install one in the machine's image." >&2; exit 1; }

rm -rf "$folder/venv"
"$python" -m venv "$folder/venv"
pip() { "$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check --no-cache-dir "$@"; }
pip install "torch==2.13.0" "setuptools==$(sed -n 's/^setuptools==//p' "$folder/requirements.lock")" wheel
# DeepSpeed is a source package that imports torch to build: it comes after torch, without build isolation.
pip install --no-deps --no-build-isolation -r "$folder/requirements.lock"
# The autoscaler's clients of a cloud; what they need is kept at the lock's versions.
if [ $# -gt 0 ]; then pip install --constraint "$folder/requirements.lock" "$@"; fi
echo "$wanted" > "$made"
