#!/bin/sh
# As in the image of registry:2, a file alone means `serve`, and what is no command of the server is run as it is.
set -eu
case "${1:-}" in
    *.yml | *.yaml) exec registry serve "$@" ;;
    serve | garbage-collect | config | dev | help | -*) exec registry "$@" ;;
    *) exec "$@" ;;
esac
