"""Makes the data files of this folder from scikit-learn's copy of the digits.

    pip download --no-deps --dest /tmp/wheel scikit-learn
    python3 make_data.py /tmp/wheel/scikit_learn-*.whl

Needs Python 3 only. Running it again gives the same files.
"""

import gzip
import hashlib
import pathlib
import sys
import zipfile

SOURCE = "sklearn/datasets/data/digits.csv.gz"
SOURCE_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
HELD_OUT_EVERY = 5
# Coprime to the 1,438 training images: it mixes the writers, who are neighbours in the source.
STRIDE = 701


def main(wheel: str) -> None:
    packed = zipfile.ZipFile(wheel).read(SOURCE)
    digest = hashlib.sha256(packed).hexdigest()
    if digest != SOURCE_SHA256:
        sys.exit(f"{SOURCE} is not the file expected: sha256 {digest}")
    rows = [
        [int(value) for value in line.split(",")]
        for line in gzip.decompress(packed).decode().splitlines()
    ]
    held_out = rows[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    train = [row for index, row in enumerate(rows) if (index + 1) % HELD_OUT_EVERY]
    train = [train[index * STRIDE % len(train)] for index in range(len(train))]
    folder = pathlib.Path(__file__).parent
    (folder / "train.bin").write_bytes(b"".join(bytes(row) for row in train))
    (folder / "held-out.bin").write_bytes(b"".join(bytes(row[:64]) for row in held_out))
    (folder / "held-out.labels").write_text("".join(f"{row[64]}\n" for row in held_out))


if __name__ == "__main__":
    main(sys.argv[1])
