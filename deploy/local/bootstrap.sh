#!/usr/bin/env bash
# Bring this machine to where the hub runs: RabbitMQ and venv from the distribution, Python packages into .venv.
#
#   bootstrap.sh [--with-postgresql]      as root, or as a user who may sudo; silent and quick when all is there
#
# Installing RabbitMQ or PostgreSQL starts and enables a system service on Debian. Nobody asked for one: a service that
# was not there before is neither started nor enabled here; one that was there is not touched.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
log=${HUB_HOME:-$here/.hub}/log/bootstrap.log
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
saved_policy=$policy.before-crm-hub
services=(rabbitmq-server epmd postgresql)
packages_need_mb=900
python_needs_mb=700

say() { printf '%s\n' "$*"; }
fail() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }

# -- what is missing --------------------------------------------------------------------------------------------------

python_is_usable() { python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_rabbitmq() { [ -x "${HUB_RABBITMQ_BIN:-/usr/lib/rabbitmq/bin}/rabbitmq-server" ]; }
has_postgresql() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null; }

missing_packages() {
  [ -x "$here/.venv/bin/python" ] || python_is_usable || say python3-venv
  [ -s /etc/ssl/certs/ca-certificates.crt ] || say ca-certificates
  has_rabbitmq || say rabbitmq-server
  if [ "$with_postgresql" = 1 ]; then has_postgresql || say postgresql; fi
}

room_for() { # room_for MB DIRECTORY WHAT
  local free_mb
  free_mb=$(($(df -Pk "$2" | awk 'NR == 2 {print $4}') / 1024))
  [ "$free_mb" -ge "$1" ] || fail "no room for $3: $2 has $free_mb MB free, $1 MB are needed; free some space and run this again"
}

quietly() { # quietly WHAT CMD...: run with its output in the log, a sign of life every 5 s
  local what=$1 began=$SECONDS status=0
  shift
  say "$what"
  "$@" >>"$log" 2>&1 </dev/null &
  local job=$!
  while kill -0 "$job" 2>/dev/null; do
    sleep 0.5
    if [ $(((SECONDS - began) % 10)) -eq 9 ]; then
      say "  ... $((SECONDS - began)) s"
      sleep 1
    fi
  done
  wait "$job" || status=$?
  return "$status"
}

last_words() { grep -vE '^\s*$' "$log" | tail -n 1 | cut -c1-200; }

# -- the distribution's packages, as root -----------------------------------------------------------------------------

hold_services() {
  release_services # what a killed run may have left
  [ ! -e "$policy" ] || mv "$policy" "$saved_policy"
  cat >"$policy" <<POLICY
#!/bin/sh
# Written by deploy/local/bootstrap.sh (CRM Hub) for the minutes of an installation; removed by it.
case "\$1" in rabbitmq-server* | epmd* | postgresql*) exit 101 ;; esac
[ ! -x $saved_policy ] || exec $saved_policy "\$@"
exit 0
POLICY
  chmod 755 "$policy"
}

release_services() {
  if grep -qs 'CRM Hub' "$policy"; then rm -f "$policy"; fi
  [ ! -e "$saved_policy" ] || mv "$saved_policy" "$policy"
}

unit_exists() { compgen -G "/lib/systemd/system/$1.service" >/dev/null || [ -e "/etc/init.d/$1" ]; }

disable_service() {
  local unit
  for unit in "$1.service" "$1.socket"; do
    [ -e "/lib/systemd/system/$unit" ] || continue
    if command -v systemctl >/dev/null; then systemctl disable "$unit" || true; fi
    rm -f /etc/systemd/system/*.wants/"$unit"
  done
  if [ -e "/etc/init.d/$1" ] && command -v update-rc.d >/dev/null; then update-rc.d "$1" disable || true; fi
}

install_packages() {
  local before=() service
  for service in "${services[@]}"; do if unit_exists "$service"; then before+=("$service"); fi; done
  trap release_services EXIT
  hold_services
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q -o Acquire::Retries=2 -o APT::Update::Error-Mode=any || return 10
  apt-get install -q -y --no-install-recommends "$@" || return 11
  for service in "${services[@]}"; do
    case " ${before[*]-} " in *" $service "*) ;; *) disable_service "$service" ;; esac
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    bash "$0" --install-packages "$@"
  else
    sudo -n bash "$0" --install-packages "$@"
  fi
}

may_become_root() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null && return
  [ -t 0 ] && sudo -v
}

distribution_packages() {
  local missing status=0
  mapfile -t missing < <(missing_packages)
  [ "${#missing[@]}" -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "this is no Debian or Ubuntu: install ${missing[*]} (Python 3.11+, RabbitMQ 3.10+) your own way, then run this again"
  may_become_root || fail "${missing[*]} must be installed and you are neither root nor may use sudo: have an administrator run 'apt-get install --no-install-recommends ${missing[*]}', then run this again"
  room_for "$packages_need_mb" /var/cache/apt "${missing[*]}"
  quietly "Installing ${missing[*]} from the distribution" as_root "${missing[@]}" || status=$?
  case $status in
    0) ;;
    10) fail "no package sources: apt-get update failed ($(last_words)); is there a network? log: $log" ;;
    *) fail "apt-get could not install ${missing[*]} ($(last_words)); log: $log" ;;
  esac
}

# -- Python packages --------------------------------------------------------------------------------------------------

make_venv() {
  [ -x "$here/.venv/bin/python" ] && "$here/.venv/bin/python" -c 'import pip' 2>/dev/null && return # uv makes some without
  python_is_usable || fail "python3 is $(python3 -V 2>&1 | cut -d' ' -f2), the hub needs 3.11 or newer with venv: install python3.11 and python3.11-venv, then run this again"
  quietly "Making .venv" python3 -m venv --clear "$here/.venv" || fail "python3 -m venv failed ($(last_words)); log: $log"
}

pip_setting() { "$here/.venv/bin/python" -m pip config list 2>/dev/null | sed -n "s/^[^=]*\.$1='\(.*\)'$/\1/p" | tail -n 1 || true; }

# uv does not read pip's configuration: a mirror or a certificate that is set up for pip is handed over.
hand_over_pip_settings() {
  local index certificate
  index=$(pip_setting index-url) certificate=$(pip_setting cert)
  if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}" ]; then export UV_DEFAULT_INDEX=$index; fi
  if [ -n "$certificate" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE=$certificate; fi
}

install_uv() { # the one package pip installs, at the version and hashes of the lock
  local lock=$here/.venv/uv.txt
  awk '/^[^ ]/ {on = /^uv==/} on' "$here/requirements/dev.txt" >"$lock"
  "$here/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
}

python_packages() {
  local wanted stamp=$here/.venv/installed.sha256
  wanted=$(cd "$here" && cat requirements/dev.txt pyproject.toml | sha256sum)
  [ -x "$here/.venv/bin/hub" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
  room_for "$python_needs_mb" "$here" "Python packages"
  make_venv
  hand_over_pip_settings
  local uv=$here/.venv/bin/uv
  [ -x "$uv" ] || quietly "Installing uv into .venv" install_uv || fail "Python packages could not be fetched ($(last_words)); is there a network? log: $log"
  quietly "Installing Python packages into .venv" "$uv" pip install --quiet --python "$here/.venv/bin/python" --require-hashes -r "$here/requirements/dev.txt" ||
    fail "Python packages could not be installed ($(last_words)); is there a network? log: $log"
  quietly "Installing the hub command" "$uv" pip install --quiet --python "$here/.venv/bin/python" --no-deps --no-build-isolation --editable "$here" ||
    fail "the hub command could not be installed ($(last_words)); log: $log"
  printf '%s\n' "$wanted" >"$stamp"
}

# -- the order of things ----------------------------------------------------------------------------------------------

with_postgresql=0
case "${1:-}" in
  --install-packages) shift; install_packages "$@"; exit ;;
  --with-postgresql) with_postgresql=1 ;;
  '') ;;
  *) fail "unknown option $1 (there is one: --with-postgresql)" ;;
esac
(umask 077 && mkdir -p "$(dirname "$log")") 2>/dev/null || fail "cannot write to $(dirname "$log"): set HUB_HOME to a folder of yours"
exec 9>"${log%.log}.lock"
flock 9 # two at once: the second waits and finds all done
distribution_packages
python_packages
