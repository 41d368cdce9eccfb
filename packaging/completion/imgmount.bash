# bash completion of imgmount; made by: imgmount --print bash
_imgmount_ask() {
    local text
    text=$("$1" --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null </dev/null) || return
    [[ -n $text ]] && mapfile -t COMPREPLY <<< "$text"
    compopt +o default 2>/dev/null
    [[ ${#COMPREPLY[@]} -eq 1 && $text == */ ]] && compopt -o nospace 2>/dev/null
    return 0
}
_imgmount() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words="" command="" word
    [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD-2]}
    [[ $cur == = ]] && cur=""
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
            cat|extract|formats|help|info|list|ls|timeline|verify|mount|unmount|umount|-u|--unmount) command=$word; break ;;
        esac
    done
    case $previous in
        --view) words="tree raw all deleted" ;;
        --container) words="aff aff4 apple_unread applesingle asif binhex bochs bzip2 ccd cdi chd ciso_gc cloop cso cue daa dart dax dc42 dms ecm encrypted ewf gcz gdi gzip isz lzma macbinary mds ndif nfs nrg ova parallels qcow qcow2 qed rawsectors shrinkwrap simg sparsebundle sparseimage tgc toc uae_adf udif unread vdi vhd vhdx vmdk wbfs wdf wia wux xz zip zso zstd raw" ;;
        --partitions) words="apm atari bsd eltorito gpt lvm2 mbr rdb sessions sgi sun wbfs wii wiiu none" ;;
        --fs) words="ad1 amigados apfs archive cramfs exfat ext fat gcfst hfs hfsplus iso9660 rockridge joliet iso ltree macforks mfs minix ntfs nus romfs squashfs udf ufs unread wiiufst wim xfs zar" ;;
        --forks) words="xattr appledouble tree" ;;
        --names) words="nfc stored" ;;
        --on-error) words="fail zero" ;;
        --xa) words="form2 raw cooked" ;;
        --log-file|-o|--idle-timeout|--encoding|--refs|--password|--password-file|--key|--keys|--cache-size|-X|--extra|--image|--session|--snapshot|-C|--directory) return ;;  # a file, or anything
    esac
    if [[ -z $words && $cur == -* ]]; then
        case $command in
            cat) words="-h --help -v --verbose --log-file --version --view --raw --deleted --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            extract) words="-h --help -v --verbose --log-file --version -C --directory -p --preserve --force --view --raw --deleted --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            formats) words="-h --help -v --verbose --log-file --version --json --markdown" ;;
            help) words="-h --help -v --verbose --log-file --version" ;;
            info) words="-h --help -v --verbose --log-file --version --json --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            list) words="-h --help -v --verbose --log-file --version --json" ;;
            ls) words="--help -v --verbose --log-file --version -l --long -h --human-readable -R --recursive -a -A --all -d --directory-itself -t --by-time -S --by-size -r --reverse -1 --one-column --json --view --raw --deleted --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            timeline) words="-h --help -v --verbose --log-file --version --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            verify) words="-h --help -v --verbose --log-file --version --json --strict --read --no-read --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa" ;;
            -u|--unmount|unmount|umount) words="-h --help -v --verbose --log-file --version -a --all -l --lazy --notify" ;;
            *) words="-h --help -v --verbose --log-file --version -o -f --foreground --open --notify --idle-timeout --view --raw --deleted --container --partitions --fs --encoding --refs --password --password-file --key --keys --cache-size -X --extra --flat --forks --hidden --image --names --no-journal --on-error --session --snapshot --xa --install-desktop --uninstall-desktop -u --unmount" ;;
        esac
    elif [[ -z $words ]]; then
        case $command in
            formats) words="aff aff4 apple_unread applesingle asif binhex bochs bzip2 ccd cdi chd ciso_gc cloop cso cue daa dart dax dc42 dms ecm encrypted ewf gcz gdi gzip isz lzma macbinary mds ndif nfs nrg ova parallels qcow qcow2 qed rawsectors shrinkwrap simg sparsebundle sparseimage tgc toc uae_adf udif unread vdi vhd vhdx vmdk wbfs wdf wia wux xz zip zso zstd apm atari bsd eltorito gpt lvm2 mbr rdb sessions sgi sun wii wiiu ad1 amigados apfs archive cramfs exfat ext fat gcfst hfs hfsplus iso9660 rockridge joliet iso ltree macforks mfs minix ntfs nus romfs squashfs udf ufs wiiufst wim xfs zar" ;;
            help) words="cat extract formats help info list ls mount timeline umount unmount verify" ;;
            cat|extract|ls|-u|--unmount|unmount|umount) _imgmount_ask "${1:-imgmount}" && return ;;
        esac
    fi
    [[ -n $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    if [[ -z $words && $COMP_CWORD -eq 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "cat extract formats help info list ls timeline verify" -- "$cur"; compgen -f -- "$cur")
    fi
}
complete -o filenames -o default -F _imgmount imgmount
