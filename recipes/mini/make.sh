#!/usr/bin/env bash
# How the embedded models are made, from nothing: recipes/mini/make.sh RUNS DATA. Each step can be stopped and run
# again. DATA: CDD-CESM's low-energy images with their index.csv (docs/sources/cdd-cesm.md); its test patients are
# seen by no step. WEIGHTS: where the models go, the package's own unless named.
set -euo pipefail
usage="usage: recipes/mini/make.sh RUNS DATA [WEIGHTS]"
runs=${1:?$usage}
data=${2:?$usage}
here=$(dirname "$0")
weights=${3:-$here/../../src/mame/weights}
real=$runs/real
normals=$runs/normals

step() { # GOAL DATASET NAME [BASE: a step's name, or a folder]
  [ -e "$runs/$3/model" ] && return
  base=${4:-}
  [ -e "$runs/$base/model" ] && base=$runs/$base/model
  mam-e train "$1" "$2" "$runs/$3" --config "$here/$3.yaml" --cache "$runs/cache" ${4:+--base "$base"} \
    $([ -e "$runs/$3/config.yaml" ] && echo --resume)
}

mkdir -p "$normals"
# The names of CDD-CESM's patients are public, so this key need not be secret: who prepares the set with it, too, can
# have `mam-e cad` check whom the models saw.
[ -e "$real/dataset.json" ] || mam-e prepare cdd-cesm "$data" "$real" \
  --split 70,10,20 --caption vendor,view,measured,area,kind --windows 4 --key "$here/key"
# of the images that show no lesion the patients are unknown, so they are on the training side by their nature
ln -sf "$(realpath "$data")"/full/*normal* "$normals"

step healthy phantom:3200:1 healthy-256
step healthy phantom:3200:1 healthy-512 healthy-256
step healthy "phantom:800:21 + 3*$real" healthy-real healthy-512
step healthy "phantom:800:21 + 2*$real + shrunk:$real" healthy-even healthy-real
step healthy "phantom:800:21 + 2*$real + shrunk:$real" healthy-rare healthy-even
step autoencoder phantom:1664:7 decoder healthy-even
step autoencoder "phantom:200:27 + 2*$real" decoder-real decoder
step autoencoder "phantom:200:27 + 2*$real" decoder-texture decoder-real
step lesion phantom:1600:1 lesion healthy-512
step lesion "composite:1600:1:$normals" lesion-real lesion
step lesion "composite:2400:3:$normals + 2*$real" lesion-mixed lesion-real
step lesion "toned:composite:2000:5:$normals + 2*toned:$real" lesion-toned lesion-mixed
step lesion "toned:composite:480:9:$normals + 2*toned:$real" lesion-own lesion-toned
python "$here/assemble.py" "$runs" "$weights"
step fast "phantom:240:21 + $real + shrunk:$real" fast "$weights/mini"
python "$here/assemble.py" "$runs" "$weights"
