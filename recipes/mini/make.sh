#!/usr/bin/env bash
# How the embedded models are made, from nothing: recipes/mini/make.sh RUNS REAL. Each step can be stopped and run again.
# REAL: a folder of healthy mammograms, the tissue that lesions are laid into.
set -euo pipefail
runs=${1:?usage: recipes/mini/make.sh RUNS REAL}
real=${2:?usage: recipes/mini/make.sh RUNS REAL}
here=$(dirname "$0")

step() { # GOAL DATASET NAME [BASE]
  mam-e train "$1" "$2" "$runs/$3" --config "$here/$3.yaml" --cache "$runs/cache" ${4:+--base "$runs/$4/model"} \
    $([ -e "$runs/$3/config.yaml" ] && echo --resume)
}

step healthy phantom:3200:1 healthy-256
step healthy phantom:3200:1 healthy-512 healthy-256
step autoencoder phantom:1664:7 decoder healthy-512
step lesion phantom:1600:1 lesion healthy-512
step lesion "composite:1600:1:$real" lesion-real lesion
python "$here/assemble.py" "$runs" src/mame/weights
