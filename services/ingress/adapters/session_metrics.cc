#include "services/ingress/adapters/session_metrics.h"

#include "libs/mail/address.h"

namespace postfleet::ingress {
namespace {

constexpr const char* kClassNames[CommandCounts::kClasses] = {"2xx", "4xx", "5xx"};

metrics::Counter& Connections(metrics::Registry& registry, const std::string& listener,
                              const char* result) {
  return registry.AddCounter("smtpd_connections_total", "Connections of SMTP clients",
                             {{"listener", listener}, {"result", result}});
}

std::string VerbLabel(smtp::Verb verb) {
  return verb == smtp::Verb::kUnknown ? "unknown" : mail::LowerCasedAscii(smtp::VerbName(verb));
}

}  // namespace

ListenerMetrics::ListenerMetrics(metrics::Registry& registry, const std::string& listener)
    : registry_(registry),
      connections_(
          registry.AddGauge("smtpd_connections", "Open sessions", {{"listener", listener}})),
      accepted_connections_(Connections(registry, listener, "accepted")),
      limited_connections_(Connections(registry, listener, "limited")),
      messages_(registry.AddCounter("smtpd_messages_accepted_total", "Messages with a final 250",
                                    {{"listener", listener}, {"auth", "no"}})),
      transaction_seconds_(
          registry.AddHistogram("smtpd_transaction_seconds", "From MAIL to the final reply",
                                {{"listener", listener}}, metrics::SecondsBuckets())) {
  for (int verb = 0; verb < smtp::kVerbCount; ++verb) {
    for (int reply_class = 0; reply_class < CommandCounts::kClasses; ++reply_class) {
      commands_[verb][reply_class] =
          &registry.AddCounter("smtpd_commands_total", "Commands by the class of their reply",
                               {{"verb", VerbLabel(static_cast<smtp::Verb>(verb))},
                                {"class", kClassNames[reply_class]}});
    }
  }
}

void ListenerMetrics::Opened(bool limited) {
  (limited ? limited_connections_ : accepted_connections_).Increment();
  connections_.Increment();
}

void ListenerMetrics::Closed(const CommandCounts& counts) {
  connections_.Decrement();
  for (int verb = 0; verb < smtp::kVerbCount; ++verb) {
    for (int reply_class = 0; reply_class < CommandCounts::kClasses; ++reply_class) {
      const uint32_t count = counts.replied(static_cast<smtp::Verb>(verb), reply_class);
      if (count > 0) commands_[verb][reply_class]->Increment(count);
    }
  }
}

void ListenerMetrics::Accepted(double transaction_seconds) {
  messages_.Increment();
  transaction_seconds_.Observe(transaction_seconds);
}

void ListenerMetrics::Rejected(const RejectEvent& event) {
  registry_
      .AddCounter("smtpd_rejects_total", "Refusals",
                  {{"stage", mail::LowerCasedAscii(event.stage)},
                   {"code", std::to_string(event.code)},
                   {"reason", std::string(RejectReasonName(event.reason))}})
      .Increment();
}

}  // namespace postfleet::ingress
