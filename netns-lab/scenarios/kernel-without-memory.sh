# shellcheck shell=bash
# The kernel has no memory for what the agent asks of it: requests fail with ENOBUFS or ENOMEM, whole, while the
# configuration changes. What is there goes on protecting, the agent goes on answering, and what is wanted is in as soon as
# the kernel takes it. No kernel runs out of memory on demand, so strace fails the writer's system calls.
#
# topology: fig1-ted
# needs: agent

work=$(state_folder "$lab")

share_secret 104-106.psk 104
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
start_agent 104
read -r _ agent <"$work/agent-104.pid"
writer=$(grep -lx kernel-writer "/proc/$agent/task"/*/comm | cut -d/ -f5)
capture r1 to-104 "$work/wire" -Q in
trap_for() { policies 104 | has "src 10.1.0.0/16 dst $1 .*dir out .*mode transport"; }
blocked() { ! on 102 ping -q -c 2 -i 0.1 -W 1 10.2.0.108 >/dev/null; }

number=20
for error in ENOBUFS ENOMEM; do
    echo "--- $error"
    start_process 104 starve strace -p "$writer" -e trace=sendto -e "inject=sendto:error=$error" -o "$work/calls"
    eventually 20 grep -q attached "$work/starve.log" || fail "$(<"$work/starve.log")"
    sed -i "s,\"10.0.0.0/8\",&\, \"172.$number.0.0/16\"," "$(agent_folder 104)/agent.toml"
    agent 104 reload
    failed() { (($(grep -c INJECTED "$work/calls") >= 3)); }
    eventually 20 failed || fail "no system call failed: $(<"$work/calls")"
    blocked || fail "108 answered in the clear"
    trap_for 10.0.0.0/8 || fail "the trap is gone: $(policies 104)"
    agent 104 status >/dev/null || fail "it does not answer"
    ! trap_for "172.$number.0.0/16" || fail "no system call failed that mattered"
    grep -q "ERROR.*$error\|ERROR.*os error" "$(agent_log 104)" || fail "the log does not say so: $(<"$(agent_log 104)")"
    end_process starve || true
    eventually 10 trap_for "172.$number.0.0/16" || fail "not put in: $(policies 104) $(agent 104 status)"
    refused 104 0 || fail "refused: $(refusals 104)"
    blocked || fail "108 answered in the clear"
    number=$((number + 1))
done

# Each is told, and not more often than it is tried.
errors=$(grep -c ERROR "$(agent_log 104)")
echo "$errors errors in the log, $(grep -c INJECTED "$work/calls") calls failed the second time"
stop_agent 104 || fail "104 did not stop"
stop_capture r1 to-104
clear=$(in_the_clear "$work/wire")
[[ -z $clear ]] || fail "in the clear: $clear"
