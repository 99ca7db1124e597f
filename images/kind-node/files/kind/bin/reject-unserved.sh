#!/bin/sh
# Pods start a second before kube-proxy has written its rules. What they send to a service until then would leave the node
# and be lost, and its repetitions with it: the kernel keeps the first packet's way. Refused, they try again at once.
set -eu
subnets=$(sed -n 's/^ *serviceSubnet: *//p' /kind/kubeadm.conf | head -n 1 | tr ',' ' ')
# A table of its own, behind those of iptables (priority 0): kube-router accepts there what policies allow, and a rule of
# iptables would not be asked after it. A packet that kube-proxy has sent to a pod has the pod's address by now.
{
  echo 'table inet reject-unserved'
  echo 'delete table inet reject-unserved'
  echo 'table inet reject-unserved {'
  echo 'chain forward {'
  echo 'type filter hook forward priority 10;'
  for subnet in $subnets; do
    case $subnet in
      *:*) family=ip6 ;;
      *) family=ip ;;
    esac
    echo "ct state new $family daddr $subnet reject"
  done
  echo '}'
  echo '}'
} | nft --file -
