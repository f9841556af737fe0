"""Submissions that were picked by hand: lines of sbatch(1)'s options."""

PICKED = (
    # Never spread over more nodes than are asked for.
    *("-N1 -n5", "-n1 -c6", "-N2 -n9", "-n8", "-n9", "-N1 -n8", "-N3 -n3", "-n4", "-n17", "-N2 -n2 -c4"),
    *("-n1 -c9", "-N2 -c5", "-n2 -c3", "-n3 -c3", "-N1-1 -n5", "-N2 -n16", "-N4", "-N5"),
    # Generic resources: per node, in all, for each task and for each socket.
    *("-n4 --gpus=4", "-n4 --gpus-per-task=1", "--gpus=a100:3", "-n4 --gpus=4 --cpus-per-gpu=2"),
    *("--gres=gpu:1", "--gres=gpu:2", "--gres=gpu:3", "-N2 --gres=gpu:2", "--gres=gpu:a100:1,gpu:v100:1"),
    *("--gpus=1", "--gpus=2", "--gpus=3", "--gpus=5", "-N1 --gpus=3", "-N2 --gpus=2", "-N2 --gpus=3"),
    *("--gpus-per-node=2", "-N2 --gpus-per-node=1", "--gpus-per-node=a100:2", "--gpus=3090:2"),
    *("--gres=gpu:3090:2", "--gpus=3090:3", "-n2 --gpus-per-task=3090:1", "-n3 --gpus-per-task=1 -c2"),
    *("-n2 --gpus-per-task=a100:1", "--gpus=2 --cpus-per-gpu=4", "--gpus=1 --cpus-per-gpu=5"),
    *("--gpus=2 --mem-per-gpu=2000", "--gres=gpu:1 --mem-per-gpu=9000", "--gpus=4 --ntasks-per-gpu=1"),
    *("-n4 --ntasks-per-gpu=2", "-n4 --ntasks-per-gpu=1", "--gpus-per-socket=1 --sockets-per-node=2 -n2"),
    *("--array=1-3 --gpus=1", "--array=1-4 --gres=gpu:1", "--array=1-3 --gpus=2", "-n8 --gpus=4"),
    *("-n4 --gpus=2 -c2", "-N2-3 --gpus=4", "--gpus=gpu:2", "--gres=gpu:v100:1", "--gres=nosuch:1"),
    # Constraints.
    *("-C fa", "-C fa&fb", "-C fa|fb -n6", "-N2 -C [fa*1&fb*1]", "-N3 -C [fa*2&fb*1]", "-N2 -C [fa|fb]"),
    *("-N2 -C fa*1&fb*1", "-C big", "-C big -N2", "-N2 -C [fd*1&fe*1]", "-C nosuch", "-C (fa|fc)&big"),
    *("-N2 -C [(fa|fb)*1&fc*1]", "-C fd|fe --gpus=2"),
    # Ranges.
    *("-N2-4 -n4", "-N1-2 -n4", "-N1-2 -n9", "-N2-3 -n12", "-N1-4 -n16", "-N2-4", "-N3-4 -n2", "-N1-2 -n17"),
    *("-N2-4 -n4 -c3", "-N1-3 -n3 -c4"),
    # Memory.
    *("--mem=0", "--array=1-3 --mem=0", "-N2 --mem=0", "--mem=5000", "--mem=9000", "--mem-per-cpu=1500 -n4"),
    *(
        "--mem-per-cpu=2500 -n4",
        "--array=1-3 --mem=3000",
        "--array=1-4",
        "--array=1-5",
        "--array=1-3 --mem=5000",
    ),
    *("-n4 --mem-per-cpu=3000", "-N2 -n8 --mem=8000", "--mem-per-cpu=9000", "-c4 --mem-per-cpu=3000"),
    *("--mem=10500", "--mem=10000", "--mem=25000", "--mem-per-cpu=4000 -n2 --array=1-2", "--mem=12G"),
    # Threads, cores and sockets.
    *("-n4 --hint=nomultithread", "-n8 --hint=nomultithread", "-n4 --threads-per-core=1", "--array=1-4 -n1"),
    *(
        "-n4 --ntasks-per-core=1",
        "-n2 -c2 --hint=nomultithread",
        "-n4 --threads-per-core=2",
        "-n3 -c1 --array=1-3",
    ),
    *(
        "-B 2",
        "-B 2:2",
        "-B 2:2:2",
        "-B 1:4",
        "-B *:*:1 -n4",
        "--sockets-per-node=2 -n4",
        "--cores-per-socket=4",
    ),
    *(
        "--cores-per-socket=3 -n6",
        "-n4 --ntasks-per-socket=1",
        "-n4 --ntasks-per-socket=2",
        "-n8 --ntasks-per-socket=3",
    ),
    *(
        "-n4 --ntasks-per-node=2",
        "-n6 --ntasks-per-node=3",
        "-N2 --ntasks-per-node=4",
        "-n5 --ntasks-per-node=2",
    ),
    *(
        "-N2 --ntasks-per-node=5",
        "-N2 -n3 --ntasks-per-node=2",
        "--ntasks-per-node=9",
        "-n4 --hint=compute_bound",
    ),
    *("-n4 --hint=memory_bound", "-n8 --hint=multithread"),
    # What a node has at the least.
    *(
        "--mincpus=5",
        "--mincpus=4",
        "-N2 --mincpus=6",
        "-n2 --mincpus=8",
        "--tmp=500",
        "--tmp=2000",
        "--tmp=500 -N2",
    ),
    *("--core-spec=1", "--core-spec=2 -n4", "--thread-spec=2", "-S 1 -n8", "-n6 -S 2"),
    # Others on the same node.
    *("--exclusive", "--array=1-2 --exclusive", "--array=1-3 -n2 --exclusive", "--oversubscribe --array=1-5"),
    *("--overcommit -n10", "-O -n10 -N1", "--array=1-8 -n1", "--array=1-9 -c2", "--array=1-4 -n3"),
    *("--array=1-6 -c3", "--contiguous -N2", "--spread-job -n4", "--use-min-nodes -n6", "-s -n2 --array=1-4"),
    *("--array=1-4%2 -n4", "-N1 : -N1", "-n4 : -n2", "-n4 : -n5", "-n1 --gpus=2 : -n8"),
    *("-n4 --exclusive --mem=0", "--exclusive -N2 -n3", "--exclusive --mem-per-cpu=3000"),
)
"""Some of each kind."""
QUICK = (
    *("-N1 -n5", "-n1 -c6", "-N2 -n9", "-n8", "-n4 --gpus=4", "-n4 --gpus-per-task=1", "--gpus=a100:3"),
    *("-n4 --gpus=4 --cpus-per-gpu=2", "-N2 -C [fa*1&fb*1]", "-N2-4 -n4", "-N1-2 -n4", "--array=1-3 --mem=0"),
    *(
        "-n4 --hint=nomultithread",
        "--array=1-4 -n1",
        "--mincpus=5",
        "--tmp=500",
        "-B 2",
        "--cores-per-socket=4",
    ),
    *("--gres=gpu:3090:2", "--mem=10500", "--exclusive -N2 -n3", "-N1 : -N1"),
)
"""A few: the smallest of each kind."""
