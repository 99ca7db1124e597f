#!/bin/sh
# Pods start a second before kube-proxy has written its rules. What they send to a service until then would leave the node
# and be lost, and its repetitions with it: the kernel keeps the first packet's way. Refused, they try again at once.
set -eu
subnets=$(sed -n 's/^ *serviceSubnet: *//p' /kind/kubeadm.conf | head -n 1 | tr ',' ' ')
for subnet in $subnets; do
  case $subnet in
    *:*) iptables=ip6tables ;;
    *) iptables=iptables ;;
  esac
  # Behind kube-proxy's rules, and for packets that none of them has sent elsewhere.
  set -- FORWARD --destination "$subnet" --match conntrack --ctstate NEW --jump REJECT
  $iptables --wait --check "$@" 2>/dev/null || $iptables --wait --append "$@"
done
