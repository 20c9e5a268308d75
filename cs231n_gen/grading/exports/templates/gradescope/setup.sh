#!/usr/bin/env bash
# Gradescope runs this once, as root, when the autograder is built: Python, the course's packages, a sandbox.
# To take packages from somewhere else, such as a CPU build of PyTorch, export PIP_INDEX_URL here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
venv=$(dirname "$PWD")/venv # beside the source, for student code needs to read it

# Hidden tests and solutions are here, and student code runs on the same machine.
chmod -R go-rwx .

apt-get update || echo "setup: apt-get update failed, going on with what is there" >&2
apt-get install -y --no-install-recommends bubblewrap libseccomp2 \
	|| echo "setup: bubblewrap cannot be installed" >&2

find_python() {
	for one in python3.14 python3.13 python3.12 python3.11 python3; do
		if "$one" -c 'import sys, venv, ensurepip; assert (3, 11) <= sys.version_info < (3, 15)' 2>/dev/null; then
			command -v "$one"
			return
		fi
	done
	return 1
}

for version in "" 3.12 3.13 3.11 3.14; do
	if [ -n "$version" ]; then
		apt-get install -y --no-install-recommends "python$version" "python$version-venv" || continue
	fi
	if python=$(find_python); then break; fi
done
[ -n "${python:-}" ] || {
	echo "setup: the course needs Python 3.11 to 3.14 with venv; this image has none: choose a newer one" >&2
	exit 1
}

pin() { sed -n "s/^\($1==[^ ;]*\).*/\1/p" constraints.txt; }

"$python" -m venv --clear "$venv"
# torch by its exact pin in every call: a range would pass over a CPU build for several GB.
install=("$venv/bin/python" -m pip install -c constraints.txt "$(pin torch)")
"${install[@]}" "$(pin pip)" "$(pin setuptools)"
"${install[@]}" --no-build-isolation -e .

# Once more, for what the installation added here.
chmod -R go-rwx .
