#!/bin/sh
# An environment with nearsight and the programs that benchmarks/glasses.py and benchmarks/llg_steps.py compare with.
#
#     sh benchmarks/peers/environment.sh FOLDER
#     OMP_NUM_THREADS=1 FOLDER/bin/python benchmarks/glasses.py
set -e
folder=${1:?"name the folder of the environment, as in: sh benchmarks/peers/environment.sh ../peers"}
here=$(cd "$(dirname "$0")/../.." && pwd)
python3 -m venv "$folder"
"$folder/bin/pip" install "$here" peapods==0.2.0 dwave-samplers==1.8.0 openjij==0.12.2 spirit==2.2.0
