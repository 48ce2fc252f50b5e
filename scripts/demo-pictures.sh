#!/usr/bin/env bash
# Prints a folder of real, openly licensed photos for the demo: sample data of scikit-image, taken out of its
# pinned wheel and kept in the user's cache folder. Their licences, as scikit-image's documentation states them:
#
#   CC0: brick, camera, chelsea, coffee, grass, gravel, retina
#   public domain: astronaut, hubble_deep_field, moon (NASA), rocket (SpaceX)
#   no known copyright restrictions: coins (Brooklyn Museum), ihc (immunohistochemistry)
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/wheels.sh"
home=$cache/demo-pictures-1
photos="astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png retina.jpg rocket.jpg"

whole() {
  local photo
  for photo in $photos; do [ -s "$home/$photo" ] || return 1; done
}

if ! whole; then
  lock_cache
  if ! whole; then
    need_free_mib 200 "$cache" "unpacking the demo's photos"
    echo "demo pictures: downloading (about 14 MB, once per user) ..." >&2
    staging=$(mktemp -d "$cache/.demo-pictures-XXXXXX")
    trap 'rm -rf "$staging"' EXIT
    download_wheels "$root/scripts/demo-pictures.txt" "$staging/wheels" "the demo's photos"
    mkdir "$staging/photos"
    python3 - "$staging/wheels" "$staging/photos" $photos <<'PY'
import os, sys, zipfile

wheels, target, *photos = sys.argv[1:]
with zipfile.ZipFile(os.path.join(wheels, os.listdir(wheels)[0])) as archive:
    for photo in photos:
        with open(os.path.join(target, photo), "wb") as sink:
            sink.write(archive.read("skimage/data/" + photo))
PY
    rm -rf "$home"
    mv "$staging/photos" "$home"
  fi
fi
echo "$home"
