# bash completion for letsencrypt-tiny(8)

_letsencrypt_tiny_sections() {  # the names of sections, one a line, as far as they may be read
    "$1" --quiet status --json 2>/dev/null | grep -o '"section": "[^"\\]*"' | cut -d '"' -f 4
}

_letsencrypt_tiny() {
    local program=$1 current=$2 previous=$3 command='' word options='' words='' IFS=$' \t\n'
    local general='--config= --socket= --quiet --debug --help --version'
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in -*|=) ;; *) command=$word; break ;; esac
    done
    # “--option=value” comes as three words
    [ "$current" != = ] || current=''
    [ "$previous" != = ] || previous=${COMP_WORDS[COMP_CWORD-2]}
    case $previous in
        --config|--config-certs|--certificate-key|--metrics|--socket)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return ;;
        --challenge) words='http-01 dns-01 tls-alpn-01 dns-persist-01 stateless' ;;
        --reason) words='unspecified keyCompromise superseded cessationOfOperation' ;;
        --ca|--contact|--critical|--mail|--min-days|--notify|--warning) return ;;
    esac
    if [ -z "$words" ]; then
        case $command in
            account) options='--ca= --contact= --deactivate --orders --register --rollover
                              --thumbprint --tos-agreed --yes' ;;
            add) options='--ca= --challenge= --contact= --notify= --tos-agreed --web-server' ;;
            check) options='--json --online' ;;
            failures) options='--mail=' ;;
            import) options='--dry-run' words='acme-tiny acme.sh certbot dehydrated lacme lego' ;;
            newOrder|renew|issue) options='--ca= --config-certs= --dry-run --force --min-days=
                                           --new-key --tos-agreed --unattended' ;;
            records) options='--config-certs=' ;;
            remove) options='--purge' ;;
            revokeCert|revoke) options='--authorize --ca= --certificate-key= --config-certs=
                                        --force --reason=' ;;
            status|list) options='--check --config-certs= --critical= --json --metrics=
                                  --warning=' ;;
            '') words='account add check failures help import newOrder records remove
                       revokeCert status tidy version' ;;
            help) words='account add check failures import newOrder records remove revokeCert
                         status tidy' ;;
        esac
        if [[ $current == -* ]]; then
            words="$general $options"
        else
            case $command in
                newOrder|renew|issue|records|remove|revokeCert|revoke|status|list)
                    IFS=$'\n'
                    words=$(_letsencrypt_tiny_sections "$program") ;;
            esac
        fi
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    [[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace
}
complete -F _letsencrypt_tiny letsencrypt-tiny
