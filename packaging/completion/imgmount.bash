# bash completion of imgmount; made by: imgmount --print bash
_imgmount() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=""
    COMPREPLY=()
    case $previous in
        --view) words="tree raw all deleted" ;;
        --forks) words="xattr appledouble tree" ;;
        --names) words="nfc stored" ;;
        --on-error) words="fail zero" ;;
        --xa) words="form2 raw cooked" ;;
        --log-file|-o|--idle-timeout|--container|--partitions|--fs|--encoding|--refs|--password|--password-file|--key|--keys|--cache-size|-X|--extra|--image|--session|--snapshot|-C|--directory) return ;;  # a file, or anything
    esac
    if [[ -z $words && $cur == -* ]]; then
        case ${COMP_WORDS[1]} in
            cat) words="-h --help -v --verbose --log-file --version --view --raw --deleted --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            extract) words="-h --help -v --verbose --log-file --version -C --directory -p --preserve --force --view --raw --deleted --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            formats) words="-h --help -v --verbose --log-file --version --json --markdown" ;;
            info) words="-h --help -v --verbose --log-file --version --json --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            list) words="-h --help -v --verbose --log-file --version --json" ;;
            ls) words="-h --help -v --verbose --log-file --version -l --long -R --recursive -a --all --json --view --raw --deleted --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            verify) words="-h --help -v --verbose --log-file --version --strict --read --no-read --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            -u|--unmount) words="-h --help -v --verbose --log-file --version -a --all -l --lazy --notify" ;;
            *) words="-h --help -v --verbose --log-file --version -o -f --foreground --open --notify --idle-timeout --view --raw --deleted --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa --install-desktop --uninstall-desktop -u --unmount" ;;
        esac
    fi
    [[ -n $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    if [[ -z $words && $COMP_CWORD -eq 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "cat extract formats info list ls verify" -- "$cur"; compgen -f -- "$cur")
    fi
}
complete -o filenames -o default -F _imgmount imgmount
