"""Fail when an environment, without pip and setuptools, is larger than so many MB: `installed_size.py VENV LIMIT`."""

import sys
from pathlib import Path

venv, limit_mb = Path(sys.argv[1]), float(sys.argv[2])
site = next(path for path in venv.rglob("site-packages") if path.is_dir())
sizes = {
    entry.name: sum(file.stat().st_size for file in [entry, *entry.rglob("*")] if file.is_file())
    for entry in site.iterdir()
    if not entry.name.startswith(("pip", "setuptools"))
}
for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:12]:
    sys.stdout.write(f"{size / 1e6:8.1f} MB  {name}\n")
total_mb = sum(sizes.values()) / 1e6
sys.stdout.write(f"{total_mb:8.1f} MB  in all; the limit is {limit_mb:g} MB\n")
sys.exit(total_mb > limit_mb)
