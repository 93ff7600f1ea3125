#!/bin/sh
# Runs the tests of the mark expression $2 with the command $1, one process per tier: Blender's module and the machine-learning
# libraries stay out of each other's way, and one that hangs takes nothing with it. All tiers run; any failure fails the whole.
set -u
failed=""
for tiers in "tests/unit tests/contract" "tests/backend" "tests/blender" "tests/gui"; do
    folders=""
    for folder in $tiers; do
        [ -d "$folder" ] && folders="$folders $folder"
    done
    [ -n "$folders" ] || continue
    echo "== $folders"
    $1 -q -m "$2" --durations=10 $folders
    status=$?
    # 5: nothing in this tier has that mark.
    [ $status = 0 ] || [ $status = 5 ] || failed="$failed$folders ($status)"
done
if [ -n "$failed" ]; then
    echo "FAILED:$failed"
    exit 1
fi
echo "all tests passed"
