// The table of parameters as a whole: what an administrator finds in it, and what is made of a
// typing error.
#include "libs/config/parameters.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "libs/base/concat.h"
#include "libs/config/config.h"

namespace postfleet::config {
namespace {

// Postfix 3.9's, without what each delivery agent of master.cf has.
constexpr size_t kPostfixNames = 845;

bool IsOwn(const Parameter& row) { return row.name.starts_with("postfleet_"); }

TEST(Parameters, AreThoseOfPostfix39) {
  size_t of_postfix = 0;
  std::set<std::string_view> names;
  for (const Parameter& row : AllParameters()) {
    of_postfix += IsOwn(row) ? 0 : 1;
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " has two rows";
  }
  EXPECT_EQ(of_postfix, kPostfixNames);
}

TEST(Parameters, HaveADocumentationLine) {
  for (const Parameter& row : AllParameters()) {
    EXPECT_FALSE(row.doc.empty()) << row.name;
    if (row.status != ParameterStatus::kProtective) {
      EXPECT_TRUE(row.doc.ends_with(".")) << row.name << ": " << row.doc;
    }
  }
}

TEST(Parameters, SayWhatToDoWhereTheyAreNotSupported) {
  for (const Parameter& row : AllParameters()) {
    const bool honoured =
        row.status == ParameterStatus::kHonoured || row.status == ParameterStatus::kNotYet;
    if (!honoured) {
      EXPECT_FALSE(row.hint.empty()) << row.name;
    }
  }
}

TEST(Parameters, WithChoicesHaveADefaultAmongThem) {
  for (const Parameter& row : AllParameters()) {
    if (row.type != ParameterType::kEnum || row.default_value.find('$') != row.default_value.npos) {
      continue;
    }
    EXPECT_NE(Concat(" ", row.choices, " ").find(Concat(" ", row.default_value, " ")),
              std::string::npos)
        << row.name;
  }
}

struct Typo {
  std::string_view written;
  std::string_view meant;
};

// Letters that were dropped, doubled, swapped or taken for others; what a parameter is called
// elsewhere.
constexpr Typo kTypos[] = {
    {"relay_host", "relayhost"},
    {"relayhots", "relayhost"},
    {"my_hostname", "myhostname"},
    {"myhostnam", "myhostname"},
    {"mydestinations", "mydestination"},
    {"mydestionation", "mydestination"},
    {"my_networks", "mynetworks"},
    {"mynetwork", "mynetworks"},
    {"mynetworks_stlye", "mynetworks_style"},
    {"inet_interface", "inet_interfaces"},
    {"inet_protocol", "inet_protocols"},
    {"message_size_limt", "message_size_limit"},
    {"mesage_size_limit", "message_size_limit"},
    {"mailbox_size_limits", "mailbox_size_limit"},
    {"virtual_alias_map", "virtual_alias_maps"},
    {"virtual_aliases_maps", "virtual_alias_maps"},
    {"virtual_mailbox_domain", "virtual_mailbox_domains"},
    {"virtual_mailboxes_base", "virtual_mailbox_base"},
    {"transport_map", "transport_maps"},
    {"transports_maps", "transport_maps"},
    {"alias_map", "alias_maps"},
    {"relay_domain", "relay_domains"},
    {"relay_recipients_maps", "relay_recipient_maps"},
    {"smtpd_recipient_restriction", "smtpd_recipient_restrictions"},
    {"smtpd_recipients_restrictions", "smtpd_recipient_restrictions"},
    {"smtp_client_restrictions", "smtpd_client_restrictions"},
    {"smtpd_realy_restrictions", "smtpd_relay_restrictions"},
    {"smtpd_sasl_auth_enabled", "smtpd_sasl_auth_enable"},
    {"smtpd_tls_sercurity_level", "smtpd_tls_security_level"},
    {"smtpd_tls_certfile", "smtpd_tls_cert_file"},
    {"smtpd_tls_keyfile", "smtpd_tls_key_file"},
    {"smtpd_bannner", "smtpd_banner"},
    {"smtpd_helo_require", "smtpd_helo_required"},
    {"maximal_queue_liftime", "maximal_queue_lifetime"},
    {"minimum_backoff_time", "minimal_backoff_time"},
    {"bounce_queue_live_time", "bounce_queue_lifetime"},
    {"recipient_delimeter", "recipient_delimiter"},
    {"append_dot_my_domain", "append_dot_mydomain"},
    {"compatability_level", "compatibility_level"},
    {"notify_classs", "notify_classes"},
    {"header_check", "header_checks"},
    {"canonical_map", "canonical_maps"},
    {"home_mailboxes", "home_mailbox"},
    {"mail_log_file", "maillog_file"},
    {"luser_realy", "luser_relay"},
};

TEST(Typos, AreAnsweredWithWhatWasMeant) {
  for (const Typo& typo : kTypos) {
    EXPECT_EQ(NearestParameter(typo.written).value_or("nothing"), typo.meant) << typo.written;
  }
}

TEST(Typos, WordsOfAnotherKindAreAnsweredWithNothing) {
  for (std::string_view word : {"x", "color", "spam_threshold", "virtual_users_quota_table"}) {
    EXPECT_FALSE(NearestParameter(word)) << word << ": " << *NearestParameter(word);
  }
}

constexpr std::string_view kMainCf =
    "compatibility_level = 3.6\nmyhostname = mx.example.com\nmynetworks = 127.0.0.1\n";

std::string WarningsOf(std::string_view main_cf, std::string_view master_cf) {
  Diagnostics diagnostics;
  const absl::StatusOr<Config> config =
      Config::FromText(Concat(kMainCf, main_cf), master_cf, HostFacts{"mx", {}}, diagnostics);
  EXPECT_TRUE(config.ok()) << config.status();
  std::string text;
  for (const Diagnostic& warning : diagnostics.warnings()) ConcatTo(&text, warning.text, "\n");
  return text;
}

TEST(Typos, InAnOverrideOfMasterCfAreNamedWithTheFile) {
  const std::string warnings =
      WarningsOf("", "smtp inet n - n - - smtpd\n  -o smtpd_recipent_limit=5\n");
  EXPECT_NE(warnings.find("/etc/postfix/master.cf: unused parameter: smtpd_recipent_limit=5 "
                          "(did you mean \"smtpd_recipient_limit\"?)"),
            std::string::npos)
      << warnings;
}

TEST(Parameters, ThatAProgramSetsItselfAreNotSetByFiles) {
  const std::string warnings = WarningsOf("process_id = 1\nservice_name = x\n", "");
  EXPECT_NE(warnings.find("/etc/postfix/main.cf: read-only parameter assignment: process_id=1\n"),
            std::string::npos)
      << warnings;
  EXPECT_NE(warnings.find("read-only parameter assignment: service_name=x\n"), std::string::npos);
}

TEST(Typos, InTheLimitOfATransportAreAnsweredWithItsOwnName) {
  const std::string warnings =
      WarningsOf("slow_destination_concurency_limit = 1\n", "slow unix - - n - - smtp\n");
  EXPECT_NE(warnings.find("(did you mean \"slow_destination_concurrency_limit\"?)"),
            std::string::npos)
      << warnings;
}

TEST(Typos, InTheNameOfATransportAreAnsweredWithTheServiceThatThereIs) {
  const std::string warnings =
      WarningsOf("slwo_destination_rate_delay = 1s\n", "slow unix - - n - - smtp\n");
  EXPECT_NE(warnings.find("unused parameter: slwo_destination_rate_delay=1s "
                          "(did you mean \"slow_destination_rate_delay\"?)"),
            std::string::npos)
      << warnings;
}

TEST(Typos, InTheProgramOfAServiceAreAnsweredWithTheProgram) {
  const std::string warnings = WarningsOf("", "slow unix - - n - - smpt\n");
  EXPECT_NE(warnings.find("program \"smpt\" of service slow/unix is not supported yet; the service "
                          "is not started (did you mean \"smtp\"?)"),
            std::string::npos)
      << warnings;
}

}  // namespace
}  // namespace postfleet::config
