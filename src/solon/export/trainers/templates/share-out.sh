# The {{ plan.shape.update }} replies of an update are shared out evenly, and each GPU takes MICRO of its own at a time: less memory with fewer.
MINIBATCH={{ plan.shape.update }}
if ((MINIBATCH % PROCESSES)); then
    echo "the $MINIBATCH replies of an update cannot be shared out evenly to $PROCESSES processes: give other GPUS" >&2
    exit 2
fi
MICRO="${MICRO:-8}"
while ((MINIBATCH / PROCESSES % MICRO)); do MICRO=$((MICRO - 1)); done
