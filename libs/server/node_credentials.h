// How this host's programs speak to each other and to those of other hosts, over gRPC.
//
// Addresses of TCP are spoken to by TLS when postfleet_cluster_tls_cert_file, _key_file and _CAfile
// name a certificate, its key, and the certificates of who issues them: mutual, so that both sides
// prove a certificate by that issuer; the caller also checks that it names the host it called. Who
// has one has every power over the queue. The files are read again within kFilesCheckSeconds when
// their contents change; new connections take them. Unix sockets are spoken to in plaintext: their
// folder's permissions guard them.
//
// Without these parameters TCP is in plaintext, which whoever is on the way can read and forge: on
// addresses of this host (127.0.0.0/8, ::1, localhost) always, on others only with
// postfleet_cluster_plaintext = yes.
//
//   UseNodeCredentials(config)     once, before anything is served or called
//   ServerCredentials(address)     for what is served there
//   ChannelCredentials(address)    for what is called there
//
// Errors: FailedPrecondition and InvalidArgument name the parameter, or the file and what is wrong
// with it.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "libs/config/config.h"

namespace postfleet::server {

inline constexpr unsigned kFilesCheckSeconds = 5;

// What the functions below read of main.cf, for commands that read a part of it only.
inline constexpr std::string_view kNodeCredentialsParameters[] = {
    "postfleet_cluster_tls_cert_file", "postfleet_cluster_tls_key_file",
    "postfleet_cluster_tls_CAfile",    "postfleet_cluster_plaintext",
    "postfleet_cluster_members",       "postfleet_queue_address",
    "postfleet_scheduler_address",     "postfleet_lookup_address"};

absl::Status UseNodeCredentials(const config::Config& config,
                                unsigned files_check_seconds = kFilesCheckSeconds);

std::shared_ptr<grpc::ServerCredentials> ServerCredentials(std::string_view address);
std::shared_ptr<grpc::ChannelCredentials> ChannelCredentials(std::string_view address);

// Of HOST:PORT or unix:/path: nobody else's host.
bool IsOwnHost(std::string_view address);

}  // namespace postfleet::server
