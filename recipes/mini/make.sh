#!/usr/bin/env bash
# How the embedded models are made, from nothing: recipes/mini/make.sh RUNS REAL LESIONS. Each step can be stopped and
# run again. REAL: a folder of healthy mammograms, the tissue that lesions are laid into. LESIONS: a set that
# `mam-e prepare … --windows 4` made.
set -euo pipefail
usage="usage: recipes/mini/make.sh RUNS REAL LESIONS"
runs=${1:?$usage}
real=${2:?$usage}
lesions=${3:?$usage}
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
step lesion "composite:2400:3:$real + 2*$lesions" lesion-mixed lesion-real
step lesion "toned:composite:2000:5:$real + 2*toned:$lesions" lesion-toned lesion-mixed
python "$here/assemble.py" "$runs" src/mame/weights
