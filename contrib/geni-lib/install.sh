#!/bin/sh
# Makes a Python environment in which profile scripts run: install.sh DIR [SOURCE]. The script's Python is DIR/bin/python.
# SOURCE is what pip installs geni-lib from: a directory, an archive or git+https://...; without it PyPI's last release,
# which was not finished for Python 3: what keeps profiles from running there is mended in DIR.
set -eu

release=geni-lib==0.9.9.4

fail() {
    echo "$0: $1" >&2
    exit 1
}

case ${1-} in
"" | -*)
    echo "usage: $0 DIR [SOURCE]"
    [ "${1-}" = --help ] && exit
    exit 2
    ;;
esac
dir=$1
source=${2-$release}
python=${PYTHON:-python3}

"$python" -m venv "$dir" || fail "'$python -m venv' failed: on Debian install it with 'apt-get install python3-venv'"
dir=$(cd "$dir" && pwd)
# Its requirements leave six out.
PIP_DISABLE_PIP_VERSION_CHECK=1 "$dir/bin/pip" --quiet install "$source" six || fail "pip could not install $source"

geni=$(cd / && "$dir/bin/python" -c 'import os, geni; print(os.path.dirname(geni.__file__))') ||
    fail "$source has no package geni"
find "$geni" -name '*.py' -exec sed -i -E \
    -e 's/^( +)print ([^(].*)$/\1print(\2)/' \
    -e 's/\braw_input\(/input(/' \
    -e 's/\.iteritems\(\)/.items()/' \
    -e 's/\bunicode\(/str(/g' \
    -e 's/(buf = self\.toXMLString ?\(True)\)/\1, True)/' {} +

"$dir/bin/python" - >/dev/null <<'PROFILE' || fail "a profile does not run with the geni-lib of $source"
import geni.aggregate.cloudlab
import geni.portal as portal
import geni.rspec.emulab
import geni.rspec.igext
import geni.rspec.pg as pg
import geni.urn

portal.context.defineParameter("count", "Number of machines", portal.ParameterType.INTEGER, 1)
portal.context.bindParameters()
request = portal.context.makeRequestRSpec()
request.RawPC("node").addService(pg.Execute(shell="sh", command="true"))
portal.context.printRequestRSpec()
PROFILE
echo "profile_python = \"$dir/bin/python\""
