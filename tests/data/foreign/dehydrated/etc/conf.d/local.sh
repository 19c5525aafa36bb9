CA='https://127.0.0.1:30011/dir'
KEY_ALGO=prime256v1 # for all
export CONTACT_EMAIL=root@foreign.example
