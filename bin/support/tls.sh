# Distribution over TLS, when TIDEPOOL_CERTS names a folder made by `mix tidepool.certs`: both ends of a connection show
# a certificate by the cluster's authority, or there is none. Read by bin/start, and part of a release's env.sh.
# shellcheck shell=sh
if [ -n "${TIDEPOOL_CERTS:-}" ]; then
  for file in ca.pem cert.pem key.pem; do
    case $file in
      key.pem) what='PRIVATE KEY' ;;
      *) what='CERTIFICATE' ;;
    esac
    if ! grep -q "^-----BEGIN \(.* \)\{0,1\}$what-----" "$TIDEPOOL_CERTS/$file" 2>/dev/null; then
      echo "tidepool can't start: $TIDEPOOL_CERTS/$file can't be read, or has no $(echo $what | tr A-Z a-z); TIDEPOOL_CERTS is a node's folder made by mix tidepool.certs" >&2
      exit 1
    fi
  done
  tls=
  for end in server client; do
    tls="$tls ${end}_certfile '$TIDEPOOL_CERTS/cert.pem' ${end}_keyfile '$TIDEPOOL_CERTS/key.pem'"
    tls="$tls ${end}_cacertfile '$TIDEPOOL_CERTS/ca.pem' ${end}_verify verify_peer ${end}_secure_renegotiate true"
  done
  export ERL_ZFLAGS="${ERL_ZFLAGS:-} -proto_dist inet_tls -ssl_dist_opt$tls server_fail_if_no_peer_cert true"
fi
