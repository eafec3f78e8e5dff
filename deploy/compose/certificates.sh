#!/bin/sh
# Makes an authority and one certificate for the cluster port of the three nodes, under ./tls.
set -eu
cd "$(dirname "$0")"
mkdir -p tls
cd tls
[ -e ca.pem ] && { echo "tls/ca.pem is already there" >&2; exit 1; }
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=flotilla" \
    -addext "basicConstraints=critical,CA:TRUE" -keyout ca.key -out ca.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=node" -keyout node.key -out node.csr
printf 'subjectAltName=DNS:node1,DNS:node2,DNS:node3\nextendedKeyUsage=serverAuth,clientAuth\n' >ext
openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile ext -out node.pem
rm node.csr ext
# The nodes run as user 10001.
chmod 644 node.key
