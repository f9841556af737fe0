#!/bin/sh
# Installs esagent's parts into Slurm, each one only where it is asked for. It never changes or removes a
# file that is not esagent's: a site's own job_submit.lua is kept, and asked first.
set -eu
# slurmctld and users go through the directories that it makes, whatever root keeps to itself.
umask 022

usage() {
    cat <<'END'
usage: install.sh [--dry-run | --uninstall] [--etc DIR] [--lib DIR] [--bin DIR] [--table FILE] [--lease FILE] PART...

Parts:
  job-submit  job_submit.lua: keeps jobs off borrowed machines that are not for them
  spank       spank_esagent.so and its line in plugstack.conf: --elastic, warnings in the job's output
  poke        esagent-poke, for EpilogSlurmctld and strigger: a machine is released as soon as it is empty
  power       esagent-resume, -suspend, -resume-fail: Slurm's power saving decides when machines come and go
  orphan      esagent-orphan, for HealthCheckProgram on borrowed machines: a dead-man switch

  --dry-run   say what would be done, and do nothing
  --etc DIR   directory of slurm.conf            (/etc/slurm)
  --lib DIR   directory for the SPANK plugin     (/usr/local/lib/esagent)
  --bin DIR   directory for the programs         (/usr/local/libexec/esagent)
  --table FILE  what agent.conf says: [plugin] table  (/run/esagent/borrowed)
  --lease FILE  what agent.conf says: [plugin] lease  (/run/esagent/lease)
  --uninstall remove the parts again; a site's own job_submit.lua gets its name back
END
}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
etc=/etc/slurm lib=/usr/local/lib/esagent bin=/usr/local/libexec/esagent
table=/run/esagent/borrowed lease=/run/esagent/lease
dry="" remove="" parts=""
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=yes ;;
    --uninstall) remove=yes ;;
    --etc | --lib | --bin | --table | --lease)
        case ${2-} in
        /*[!A-Za-z0-9._/+@:=-]* | [!/]* | "") fail "$1: an absolute path of plain characters is expected" ;;
        esac
        case $1 in
        --etc) etc=$2 ;; --lib) lib=$2 ;; --bin) bin=$2 ;; --table) table=$2 ;; --lease) lease=$2 ;;
        esac
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    job-submit | spank | poke | orphan | power) parts="$parts $1" ;;
    *)
        usage >&2
        fail "$1: expected job-submit, spank, poke, orphan or power"
        ;;
    esac
    shift
done
[ -n "$parts" ] || {
    usage >&2
    exit 1
}
[ -d "$etc" ] || fail "$etc: the directory of slurm.conf is expected (--etc)"

# What is done is said, in the words of the command that does it.
run() {
    echo "$*"
    [ -n "$dry" ] || "$@"
}

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

# Make a file of standard input, whole or not at all: slurmctld may read it at any moment. What is so already is
# not touched, and what changes is shown.
put() {
    file=$(readlink -m "$1")
    cat >"$new/file"
    if [ ! -e "$file" ]; then
        echo "new $1"
    elif cmp -s "$file" "$new/file"; then
        echo "same $1"
        return
    else
        echo "change $1"
        diff -u "$file" "$new/file" | grep -a '^[-+ ]' | sed '1,2d; s/^/    /' || true
    fi
    [ -z "$dry" ] || return 0
    cp "$new/file" "$file.esagent-new"
    if [ -e "$file" ]; then chmod --reference="$file" "$file.esagent-new"; else chmod "$2" "$file.esagent-new"; fi
    mv "$file.esagent-new" "$file"
}

is_ours() {
    head -n 1 "$1" 2>/dev/null | grep -q "esagent's install.sh"
}

built() {
    [ -e "$here/build/$1" ] || fail "$here/build/$1 is missing: run make in $here first"
}

job_submit_install() {
    if [ -e "$etc/job_submit.lua" ] && ! is_ours "$etc/job_submit.lua"; then
        [ ! -e "$etc/job_submit.site.lua" ] ||
            fail "$etc/job_submit.site.lua and a job_submit.lua that is not esagent's: make one of the two"
        # A copy first, then one rename: at no moment is there no script, which would end slurmctld.
        run cp -p "$etc/job_submit.lua" "$etc/job_submit.site.lua"
    fi
    put "$etc/esagent_submit.lua" 644 <"$here/esagent_submit.lua"
    sed "s|@SLURM_ETC@|$etc|; s|@TABLE@|$table|" "$here/job_submit.lua" | put "$etc/job_submit.lua" 644
    echo "slurm.conf needs: JobSubmitPlugins=lua (then restart slurmctld)"
}

job_submit_remove() {
    if is_ours "$etc/job_submit.lua"; then
        if [ -e "$etc/job_submit.site.lua" ]; then
            run mv "$etc/job_submit.site.lua" "$etc/job_submit.lua"
        else
            echo "$etc/job_submit.lua stays as long as slurm.conf says JobSubmitPlugins=lua: slurmctld wants one"
        fi
    fi
    run rm -f "$etc/esagent_submit.lua"
}

spank_line() {
    echo "optional $lib/spank_esagent.so table=$lease"
}

spank_install() {
    built spank_esagent.so
    run mkdir -p "$lib"
    put "$lib/spank_esagent.so" 755 <"$here/build/spank_esagent.so"
    if ! grep -qsx "$(spank_line)" "$etc/plugstack.conf"; then
        { [ ! -e "$etc/plugstack.conf" ] || grep -v "spank_esagent.so" "$etc/plugstack.conf" || true; spank_line; } |
            put "$etc/plugstack.conf" 644
    fi
}

spank_remove() {
    if grep -qs "spank_esagent.so" "$etc/plugstack.conf"; then
        grep -v "spank_esagent.so" "$etc/plugstack.conf" | put "$etc/plugstack.conf" 644
    fi
    run rm -f "$lib/spank_esagent.so"
}

poke_install() {
    built esagent-poke
    run mkdir -p "$bin"
    put "$bin/esagent-poke" 755 <"$here/build/esagent-poke"
    echo "slurm.conf may say: EpilogSlurmctld=$bin/esagent-poke"
    echo "as SlurmUser: strigger --set --node --drained --flags=PERM --program=$bin/esagent-poke"
}

poke_remove() {
    run rm -f "$bin/esagent-poke"
}

power_install() {
    built esagent-poke
    run mkdir -p "$bin"
    for name in esagent-resume esagent-suspend esagent-resume-fail; do
        put "$bin/$name" 755 <"$here/build/esagent-poke"
    done
    echo "slurm.conf needs: ResumeProgram, SuspendProgram and ResumeFailProgram in $bin, see README.md"
}

power_remove() {
    run rm -f "$bin/esagent-resume" "$bin/esagent-suspend" "$bin/esagent-resume-fail"
}

orphan_install() {
    run mkdir -p "$bin"
    put "$bin/esagent-orphan" 755 <"$here/esagent-orphan"
    echo "slurm.conf of the borrowed machines may say: HealthCheckProgram=$bin/esagent-orphan, HealthCheckInterval=60"
}

orphan_remove() {
    run rm -f "$bin/esagent-orphan"
}

for part in $parts; do
    name=$(echo "$part" | tr - _)
    if [ -n "$remove" ]; then "${name}_remove"; else "${name}_install"; fi
done
