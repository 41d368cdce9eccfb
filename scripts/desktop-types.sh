#!/bin/sh
# Writes the types of files into packaging/desktop: the MIME package, and the lists in entries and actions. For `make docs`.
set -eu
imgmount=$1
share=$(dirname "$0")/../packaging/desktop

"$imgmount" --print mime > "$share/mime/packages/imgmount.xml"
sed -i "s|^MimeType=.*|MimeType=$("$imgmount" --print opened-types)|" "$share/applications/imgmount-mount.desktop"
offered=$("$imgmount" --print offered-types)
for entry in "$share"/*/actions/* "$share"/*/sendto/* "$share"/*/servicemenus/*; do
    sed -i -E "s|^(MimeTypes?\|Mimetypes)=.*|\1=$offered|" "$entry"
done
