# shellcheck shell=bash
# What the scenarios of mobility share: who is who, moves, streams that go on meanwhile, and what captures show. Sourced by
# a scenario on one of the topologies mip-*. `plug`, `unplug`, `lease` and `networks_of` are in topology.sh.

mobility_trace=$(state_folder "${lab:?}")

# --- who is who --------------------------------------------------------------------------------------------------

# shellcheck disable=SC2034 # for scenarios
{
    intranet=10.20.0.5     # S
    vpn_address=10.30.0.5  # V
    mobility=198.51.100.5  # T
    correspondent=10.10.0.101
    gateway=192.0.2.1      # T_gw
    inner_agent=10.10.0.2  # S_HA
    outer_agent=192.0.2.2  # T_HA
    case $lab in
    mip-fig1) inner_agent='' ;;
    mip-fig2) outer_agent='' ;;
    mip-fig3) inner_agent=10.10.0.1 outer_agent=192.0.2.1 ;;
    mip-fig4) outer_agent=192.0.2.8 ;;
    mip-fig8) outer_agent=198.51.100.2 ;;
    esac
}

# The letters of FIG. 13 in what `headers` prints.
declare -A letters=([$intranet]=S [$vpn_address]=V [$mobility]=T [$correspondent]=CN [$gateway]=T_gw)
[[ -z $inner_agent ]] || letters[$inner_agent]=S_HA
[[ -z $outer_agent || -n ${letters[$outer_agent]:-} ]] || letters[$outer_agent]=T_HA

# --- moves -------------------------------------------------------------------------------------------------------

# move NODE NETWORK [CARD]: the cable is pulled, and put into another network. The time when it was pulled goes to the file
# of moves, which `report_streams` reads.
move() {
    echo "$(date +%s.%N) $2" >>"$mobility_trace/moves"
    unplug "$1" "${3:-$(first_card "$1")}"
    plug "$@"
}
