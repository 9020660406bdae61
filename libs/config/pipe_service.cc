#include "libs/config/pipe_service.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/config/values.h"

namespace postfleet::config {
namespace {

struct Flag {
  char letter;
  bool PipeService::*field;
};
constexpr Flag kFlags[] = {
    {'B', &PipeService::blank_line},  {'D', &PipeService::delivered_to},
    {'F', &PipeService::from_line},   {'O', &PipeService::original_to},
    {'R', &PipeService::return_path}, {'X', &PipeService::final_delivery},
    {'h', &PipeService::fold_host},   {'q', &PipeService::quote_local_part},
    {'u', &PipeService::fold_user},   {'.', &PipeService::double_dots},
    {'>', &PipeService::quote_from},
};

struct TextAttribute {
  std::string_view name;
  std::string PipeService::*field;
};
constexpr TextAttribute kTexts[] = {
    {"directory", &PipeService::directory},
    {"chroot", &PipeService::chroot},
    {"null_sender", &PipeService::null_sender},
};

absl::Status SetFlags(std::string_view letters, PipeService* service) {
  for (const char letter : letters) {
    bool known = false;
    for (const Flag& flag : kFlags) {
      if (flag.letter != letter) continue;
      service->*flag.field = true;
      known = true;
    }
    if (!known) return absl::InvalidArgumentError(Concat("unknown flag: ", std::string(1, letter)));
  }
  return absl::OkStatus();
}

// C's escapes: \a \b \f \n \r \t \v \ddd; any other character behind a backslash is itself.
std::string Unescaped(std::string_view text) {
  constexpr std::string_view kLetters = "abfnrtv";
  constexpr std::string_view kValues = "\a\b\f\n\r\t\v";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out.push_back(text[i]);
      continue;
    }
    ++i;
    if (const size_t letter = kLetters.find(text[i]); letter != kLetters.npos) {
      out.push_back(kValues[letter]);
    } else if (text[i] >= '0' && text[i] <= '7') {
      unsigned value = 0;
      size_t digits = 0;
      for (; digits < 3 && i < text.size() && text[i] >= '0' && text[i] <= '7'; ++digits, ++i) {
        value = value * 8 + static_cast<unsigned>(text[i] - '0');
      }
      --i;
      out.push_back(static_cast<char>(value & 0xff));
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

absl::Status SetAttribute(std::string_view name, std::string_view value, PipeService* service) {
  if (name == "flags") return SetFlags(value, service);
  if (name == "eol") {
    service->eol = Unescaped(value);
    return absl::OkStatus();
  }
  if (name == "user") {
    const size_t colon = std::min(value.find(':'), value.size());
    service->user = value.substr(0, colon);
    service->group = value.substr(std::min(colon + 1, value.size()));
    return absl::OkStatus();
  }
  if (name == "size") {
    const absl::StatusOr<int64_t> bytes = ParseInteger(value);
    if (!bytes.ok() || *bytes < 0) {
      return absl::InvalidArgumentError(Concat("bad size= value: ", value));
    }
    service->message_bytes_max = static_cast<uint64_t>(*bytes);
    return absl::OkStatus();
  }
  for (const TextAttribute& text : kTexts) {
    if (text.name != name) continue;
    service->*text.field = value;
    return absl::OkStatus();
  }
  return absl::NotFoundError("");
}

}  // namespace

absl::StatusOr<PipeService> ParsePipeService(const std::vector<std::string>& arguments) {
  PipeService service;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    const size_t equals = std::min(word.find('='), word.size());
    const std::string name = absl::AsciiStrToLower(word.substr(0, equals));
    const std::string_view value = std::string_view(word).substr(std::min(equals + 1, word.size()));
    if (equals < word.size() && name == "argv") {
      service.argv.assign(arguments.begin() + static_cast<ptrdiff_t>(i), arguments.end());
      service.argv[0] = value;
      break;
    }
    const absl::Status status =
        equals < word.size() ? SetAttribute(name, value, &service) : absl::NotFoundError("");
    if (absl::IsNotFound(status)) {
      return absl::InvalidArgumentError(Concat("unknown attribute name: ", word));
    }
    if (!status.ok()) return status;
  }
  if (service.user.empty()) {
    return absl::InvalidArgumentError("missing user= command-line attribute");
  }
  if (service.argv.empty() || service.argv[0].empty()) {
    return absl::InvalidArgumentError("missing argv= command-line attribute");
  }
  return service;
}

}  // namespace postfleet::config
