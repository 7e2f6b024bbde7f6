// The launcher of Swift functions, compiled together with the function: `main.swift` ends with a call of it.
//
// It answers each line on standard input with one line on descriptor 3. Which shape the function has is decided when
// it is compiled, by the overload of `_whiskFunction` that takes it.

import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// A function from the text of its argument to the text of its result.
struct _WhiskFunction {
  let call: (Data) async -> Data
}

// ---- shapes of functions --------------------------------------------------------------------------

func _whiskFunction(_ function: @escaping (Any) -> Any) -> _WhiskFunction {
  _WhiskFunction { input in _whiskAny(input) { function($0) } }
}

func _whiskFunction(_ function: @escaping ([String: Any]) -> [String: Any]) -> _WhiskFunction {
  _WhiskFunction { input in _whiskAny(input) { function($0 as? [String: Any] ?? [:]) } }
}

func _whiskFunction(_ function: @escaping (Any) async throws -> Any) -> _WhiskFunction {
  _WhiskFunction { input in
    guard let argument = _whiskParse(input) else { return _whiskError(_whiskUnreadable) }
    do {
      return _whiskEncode(try await function(argument))
    } catch {
      return _whiskError("Failed to execute action handler with error: \(error.localizedDescription)")
    }
  }
}

func _whiskFunction<In: Decodable, Out: Encodable>(
  _ function: @escaping (In, @escaping (Out?, Error?) -> Void) -> Void
) -> _WhiskFunction {
  _WhiskFunction { input in
    _whiskDecoded(input) { (argument: In) in _whiskAwait { function(argument, $0) } }
  }
}

func _whiskFunction<Out: Encodable>(
  _ function: @escaping (@escaping (Out?, Error?) -> Void) -> Void
) -> _WhiskFunction {
  _WhiskFunction { _ in _whiskAwait(function) }
}

func _whiskFunction<In: Decodable, Out: Encodable>(
  _ function: @escaping (In) async throws -> Out
) -> _WhiskFunction {
  _WhiskFunction { input in
    do {
      let argument = try Whisk.jsonDecoder.decode(In.self, from: input)
      do {
        return _whiskEncode(codable: try await function(argument))
      } catch {
        return _whiskError("Action handler callback returned an error: \(error.localizedDescription)")
      }
    } catch {
      return _whiskError(_whiskUndecodable(input, error))
    }
  }
}

func _whiskFunction<Out: Encodable>(_ function: @escaping () async throws -> Out) -> _WhiskFunction {
  _WhiskFunction { _ in
    do {
      return _whiskEncode(codable: try await function())
    } catch {
      return _whiskError("Action handler callback returned an error: \(error.localizedDescription)")
    }
  }
}

// ---- arguments and results ------------------------------------------------------------------------

private let _whiskUnreadable = "Error serializing JSON, data does not appear to be valid JSON"

private func _whiskParse(_ input: Data) -> Any? {
  try? JSONSerialization.jsonObject(with: input, options: [.fragmentsAllowed])
}

private func _whiskAny(_ input: Data, _ function: (Any) -> Any) -> Data {
  guard let argument = _whiskParse(input) else { return _whiskError(_whiskUnreadable) }
  return _whiskEncode(function(argument))
}

private func _whiskUndecodable(_ input: Data, _ error: Error) -> String {
  let text = String(decoding: input, as: UTF8.self)
  return "JSONDecoder failed to decode JSON string \(text) to Codable type: \(error.localizedDescription)"
}

private func _whiskDecoded<In: Decodable>(_ input: Data, _ function: (In) -> Data) -> Data {
  do {
    return function(try Whisk.jsonDecoder.decode(In.self, from: input))
  } catch {
    return _whiskError(_whiskUndecodable(input, error))
  }
}

/// Waits for the callback of a function that answers later.
private func _whiskAwait<Out: Encodable>(_ function: (@escaping (Out?, Error?) -> Void) -> Void) -> Data {
  let done = DispatchSemaphore(value: 0)
  let lock = NSLock()
  var answer: Data?
  function { out, error in
    lock.lock()
    defer { lock.unlock() }
    guard answer == nil else { return }
    if let error = error {
      answer = _whiskError("Action handler callback returned an error: \(error.localizedDescription)")
    } else if let out = out {
      answer = _whiskEncode(codable: out)
    } else {
      answer = _whiskError("Action handler callback did not return response or error.")
    }
    done.signal()
  }
  done.wait()
  return answer ?? _whiskError("Action handler callback did not return response or error.")
}

private func _whiskEncode(_ result: Any) -> Data {
  guard JSONSerialization.isValidJSONObject(result) else { return _whiskError(_whiskUnreadable) }
  do {
    return try JSONSerialization.data(withJSONObject: result)
  } catch {
    return _whiskError("Failed to encode Dictionary type to JSON string: \(error.localizedDescription)")
  }
}

private func _whiskEncode<Out: Encodable>(codable result: Out) -> Data {
  do {
    return try Whisk.jsonEncoder.encode(result)
  } catch {
    return _whiskError(
      "JSONEncoder failed to encode Codable type to JSON string: \(error.localizedDescription)")
  }
}

private func _whiskError(_ text: String) -> Data {
  FileHandle.standardError.write(Data((text + "\n").utf8))
  return (try? JSONSerialization.data(withJSONObject: ["error": text])) ?? Data("{}".utf8)
}

// ---- the conversation -----------------------------------------------------------------------------

/// Serves one line after the other until there are no more; ends the process.
func _whiskServe(_ function: _WhiskFunction) {
  setvbuf(stdout, nil, _IOLBF, 0)
  let answers = FileHandle(fileDescriptor: 3)
  if let wanted = getenv("__OW_WAIT_FOR_ACK"), wanted.pointee != 0 {
    answers.write(Data("{\"ok\":true}\n".utf8))
  }
  // The thread of the program may be needed by the function: the conversation has one of its own.
  Task.detached {
    while let line = readLine() {
      var answer = await _whiskRun(line, function)
      fflush(stdout)
      answer.append(0x0A)
      answers.write(answer)
    }
    exit(0)
  }
  dispatchMain()
}

private func _whiskRun(_ line: String, _ function: _WhiskFunction) async -> Data {
  guard let request = _whiskParse(Data(line.utf8)) as? [String: Any] else { return _whiskError(_whiskUnreadable) }
  for (key, value) in request where key != "value" {
    if let text = value as? String { setenv("__OW_\(key.uppercased())", text, 1) }
  }
  let value = request["value"] ?? [String: Any]()
  guard let input = try? JSONSerialization.data(withJSONObject: value, options: [.fragmentsAllowed]) else {
    return _whiskError(_whiskUnreadable)
  }
  return await function.call(input)
}

// ---- the platform's API ---------------------------------------------------------------------------

/// Calls of the platform by a function, with the key that it was invoked with.
class Whisk {
  static var jsonDecoder = JSONDecoder()
  static var jsonEncoder = JSONEncoder()

  class func invoke(
    actionNamed action: String, withParameters parameters: Any, blocking: Bool = true
  ) -> [String: Any] {
    let (namespace, name) = parts(of: action)
    let path = "/api/v1/namespaces/\(namespace)/actions/\(name)?blocking=\(blocking)"
    return request("POST", path, parameters)
  }

  class func trigger(eventNamed event: String, withParameters parameters: Any) -> [String: Any] {
    let (namespace, name) = parts(of: event)
    return request("POST", "/api/v1/namespaces/\(namespace)/triggers/\(name)?blocking=true", parameters)
  }

  class func createTrigger(triggerNamed trigger: String, withParameters parameters: Any) -> [String: Any] {
    let (namespace, name) = parts(of: trigger)
    return request("PUT", "/api/v1/namespaces/\(namespace)/triggers/\(name)", parameters)
  }

  class func createRule(
    ruleNamed rule: String, withTrigger trigger: String, andAction action: String
  ) -> [String: Any] {
    let (namespace, name) = parts(of: rule)
    let body = ["trigger": trigger, "action": action]
    return request("PUT", "/api/v1/namespaces/\(namespace)/rules/\(name)", body)
  }

  /// `/namespace/[package/]name`, or a name of the own namespace.
  private class func parts(of name: String) -> (String, String) {
    guard name.hasPrefix("/") else { return ("_", escaped(name)) }
    let parts = name.split(separator: "/", maxSplits: 1).map(String.init)
    return (escaped(parts.first ?? "_"), escaped(parts.count > 1 ? parts[1] : ""))
  }

  private class func escaped(_ text: String) -> String {
    text.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? text
  }

  private class func request(_ method: String, _ path: String, _ body: Any) -> [String: Any] {
    let environment = ProcessInfo.processInfo.environment
    guard let host = environment["__OW_API_HOST"], let url = URL(string: host + path) else {
      return ["error": "there is no platform to call: __OW_API_HOST is not set"]
    }
    var request = URLRequest(url: url)
    request.httpMethod = method
    request.setValue("application/json", forHTTPHeaderField: "Content-Type")
    if let key = environment["__OW_API_KEY"] {
      request.setValue("Basic " + Data(key.utf8).base64EncodedString(), forHTTPHeaderField: "Authorization")
    }
    request.httpBody = try? JSONSerialization.data(withJSONObject: body)
    let done = DispatchSemaphore(value: 0)
    var answer: [String: Any] = ["error": "the platform did not answer"]
    URLSession.shared.dataTask(with: request) { data, _, error in
      if let error = error {
        answer = ["error": error.localizedDescription]
      } else if let data = data, let object = _whiskParse(data) as? [String: Any] {
        answer = object
      }
      done.signal()
    }.resume()
    done.wait()
    return answer
  }
}
