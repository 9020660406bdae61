#include "libs/server/node_credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <mutex>
#include <vector>

#include "libs/base/concat.h"
#include "libs/config/queue_addresses.h"

namespace postfleet::server {
namespace {

using grpc::experimental::FileWatcherCertificateProvider;

constexpr std::string_view kUnixPrefix = "unix:";

struct Files {
  std::string certificate;
  std::string key;
  std::string issuers;

  bool any() const { return !certificate.empty() || !key.empty() || !issuers.empty(); }
};

// Of the process. Null: plaintext.
struct Installed {
  std::mutex mutex;
  std::shared_ptr<FileWatcherCertificateProvider> provider;  // guarded by mutex
};
Installed& TheInstalled() {
  static Installed installed;
  return installed;
}

std::string OpenSslReason() {
  char text[256] = "unknown";
  if (const unsigned long error = ERR_peek_last_error(); error != 0) {
    ERR_error_string_n(error, text, sizeof text);
  }
  ERR_clear_error();
  return text;
}

// gRPC says nothing of files that it cannot use.
absl::Status CheckFiles(const Files& files) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_method()),
                                                                  SSL_CTX_free);
  const auto wrong = [](std::string_view parameter, const std::string& file) {
    return absl::InvalidArgumentError(
        Concat("parameter ", parameter, ": cannot use ", file, ": ", OpenSslReason()));
  };
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context.get(), files.certificate.c_str()) != 1) {
    return wrong("postfleet_cluster_tls_cert_file", files.certificate);
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return wrong("postfleet_cluster_tls_key_file", files.key);
  }
  if (SSL_CTX_load_verify_locations(context.get(), files.issuers.c_str(), nullptr) != 1) {
    return wrong("postfleet_cluster_tls_CAfile", files.issuers);
  }
  return absl::OkStatus();
}

// Where plaintext could be read by others.
absl::Status CheckPlaintext(const config::Config& config) {
  if (config.GetBool("postfleet_cluster_plaintext")) return absl::OkStatus();
  std::vector<std::string> addresses = config::QueueAddressesOf(config);
  addresses.push_back(config.GetString("postfleet_scheduler_address"));
  addresses.push_back(config.GetString("postfleet_lookup_address"));
  for (const std::string& address : addresses) {
    if (address.empty() || IsOwnHost(address)) continue;
    return absl::FailedPreconditionError(
        Concat(address,
               " is not on this host: name certificates by "
               "postfleet_cluster_tls_cert_file, postfleet_cluster_tls_key_file and "
               "postfleet_cluster_tls_CAfile; or, on a network where everybody may have "
               "every power over the queue, set postfleet_cluster_plaintext = yes"));
  }
  return absl::OkStatus();
}

std::shared_ptr<FileWatcherCertificateProvider> ProviderFor(std::string_view address) {
  if (address.starts_with(kUnixPrefix)) return nullptr;
  std::lock_guard lock(TheInstalled().mutex);
  return TheInstalled().provider;
}

}  // namespace

bool IsOwnHost(std::string_view address) {
  if (address.starts_with(kUnixPrefix)) return true;
  return address.starts_with("127.") || address.starts_with("localhost:") ||
         address.starts_with("[::1]:");
}

absl::Status UseNodeCredentials(const config::Config& config, unsigned files_check_seconds) {
  const Files files = {.certificate = config.GetString("postfleet_cluster_tls_cert_file"),
                       .key = config.GetString("postfleet_cluster_tls_key_file"),
                       .issuers = config.GetString("postfleet_cluster_tls_CAfile")};
  std::shared_ptr<FileWatcherCertificateProvider> provider;
  if (files.any()) {
    if (files.certificate.empty() || files.key.empty() || files.issuers.empty()) {
      return absl::InvalidArgumentError(
          "set all of postfleet_cluster_tls_cert_file, postfleet_cluster_tls_key_file and "
          "postfleet_cluster_tls_CAfile, or none");
    }
    if (absl::Status usable = CheckFiles(files); !usable.ok()) return usable;
    provider = std::make_shared<FileWatcherCertificateProvider>(files.key, files.certificate,
                                                                files.issuers, files_check_seconds);
  } else if (absl::Status plaintext = CheckPlaintext(config); !plaintext.ok()) {
    return plaintext;
  }
  std::lock_guard lock(TheInstalled().mutex);
  TheInstalled().provider = std::move(provider);
  return absl::OkStatus();
}

std::shared_ptr<grpc::ServerCredentials> ServerCredentials(std::string_view address) {
  const auto provider = ProviderFor(address);
  if (provider == nullptr) return grpc::InsecureServerCredentials();
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> ChannelCredentials(std::string_view address) {
  const auto provider = ProviderFor(address);
  if (provider == nullptr) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(provider);
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace postfleet::server
