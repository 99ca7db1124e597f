
function __cargo_xtask_complete
    set -l words (commandline -opc)
    set -e words[1..2]
    complete -C (string join ' ' -- xtask (string escape -- $words) (commandline -ct))
end
complete -c cargo -n '__fish_seen_subcommand_from xtask' -f -a '(__cargo_xtask_complete)'
