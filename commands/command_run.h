// For tests: runs one command line as main does, with files of memory for its streams.
#pragma once

#include <string>
#include <vector>

#include "commands/console.h"

namespace postfleet::commands {

struct CommandResult {
  int status = -1;
  std::string out;
  std::string err;
};

// `run` is given the streams and returns the exit status.
template <typename Run>
CommandResult Capture(const std::string& input, Run run) {
  CommandResult result;
  char* out = nullptr;
  char* err = nullptr;
  size_t out_size = 0, err_size = 0;
  // fmemopen takes no empty buffer.
  std::string text = input.empty() ? "\n" : input;
  Streams streams = {fmemopen(text.data(), text.size(), "r"), open_memstream(&out, &out_size),
                     open_memstream(&err, &err_size)};
  if (input.empty()) fgetc(streams.in);
  result.status = run(streams);
  for (FILE* file : {streams.in, streams.out, streams.err}) fclose(file);
  result.out.assign(out, out_size);
  result.err.assign(err, err_size);
  free(out);
  free(err);
  return result;
}

}  // namespace postfleet::commands
